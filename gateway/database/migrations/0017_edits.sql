-- How often something that resources show was changed other than by instances that came: labels and metadata, attributes
-- of another version, what was deleted. With the number of instances below a resource it says whether what was made of
-- its rows still holds; the intake has nothing to write for it.
CREATE TABLE resource_edits (number BIGINT NOT NULL);

INSERT INTO resource_edits (number) VALUES (0);
