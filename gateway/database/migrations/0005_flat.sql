-- Searches that went through whole tables, once these have grown.

CREATE INDEX studies_birth_date ON studies (patient_birth_date, date, id);
CREATE INDEX studies_study_id ON studies (study_id, date, id);
CREATE INDEX studies_description ON studies (description, date, id);
CREATE INDEX garbage_at ON garbage (at, key);
CREATE INDEX deliveries_destination ON deliveries (destination, id);
