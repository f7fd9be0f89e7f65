-- Rules that were written on the page, as versions: the newest is in force, after the rules of the configuration.
--
-- `content` is TOML, tables [rules.NAME] alone. Going back to a version adds it again as the newest.
CREATE TABLE rule_versions (
    id {sequence},
    content TEXT NOT NULL,
    user_name TEXT NOT NULL,
    made_at DOUBLE PRECISION NOT NULL
);
