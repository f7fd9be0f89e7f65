-- The backups that were made of this data folder: where, and when last, seconds since 1970. Whoever erases a patient
-- must know where else the patient is.
CREATE TABLE backups (
    folder TEXT PRIMARY KEY,
    made_at DOUBLE PRECISION NOT NULL
);
