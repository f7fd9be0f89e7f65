-- What people add to patients, studies, series and instances: metadata with revisions, labels, and which patients are
-- protected. Rows are found by level and public id, so that they outlive a rebuild of the index.

CREATE TABLE resource_metadata (
    level TEXT NOT NULL,
    public_id TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (level, public_id, name)
);

CREATE TABLE resource_labels (
    level TEXT NOT NULL,
    public_id TEXT NOT NULL,
    label TEXT NOT NULL,
    PRIMARY KEY (level, public_id, label)
);

CREATE INDEX resource_labels_label ON resource_labels (label, level, public_id);

CREATE TABLE protected_patients (
    public_id TEXT PRIMARY KEY
);

-- When a series last received an instance, which would otherwise be looked for in all of its instances.
ALTER TABLE series ADD COLUMN last_received DOUBLE PRECISION NOT NULL DEFAULT 0;

UPDATE series SET last_received = COALESCE((SELECT MAX(i.received_at) FROM instances i WHERE i.series = series.id), 0);

-- Searches over REST do not tell capitals from small letters.
CREATE INDEX studies_patient_id_any_case ON studies (LOWER(patient_id), date, id);
CREATE INDEX studies_accession_number_any_case ON studies (LOWER(accession_number), date, id);
CREATE INDEX studies_study_id_any_case ON studies (LOWER(study_id), date, id);
CREATE INDEX studies_description_any_case ON studies (LOWER(description), date, id);
