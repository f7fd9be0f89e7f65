-- What was sent to other systems: `remote` is the name of the system. Resources may be gone, so their identifiers stand
-- here again; those below the level are ''.
CREATE TABLE exports (
    seq {sequence},
    at DOUBLE PRECISION NOT NULL,
    remote TEXT NOT NULL,
    level TEXT NOT NULL,
    public_id TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    study_uid TEXT NOT NULL,
    series_uid TEXT NOT NULL,
    sop_uid TEXT NOT NULL
);
