-- Versions of instances whose pixel data lack something, by storage key. `instance` and `study` are public ids, `lacking`
-- says what is missing. `examined` has the number of the change up to which code streams have been looked at.

CREATE TABLE incomplete (
    key TEXT PRIMARY KEY,
    instance TEXT NOT NULL,
    study TEXT NOT NULL,
    lacking TEXT NOT NULL,
    found_at DOUBLE PRECISION NOT NULL
);

CREATE INDEX incomplete_study ON incomplete (study);

CREATE TABLE examined (
    up_to BIGINT NOT NULL
);

-- What is there already is not looked through.
INSERT INTO examined (up_to) SELECT COALESCE(MAX(seq), 0) FROM changes;
