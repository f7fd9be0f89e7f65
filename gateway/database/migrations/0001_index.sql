-- The index, the change log and the list of files to delete.
--
-- Types are TEXT, BIGINT and DOUBLE PRECISION only. {key} stands for the driver's row number, {sequence} for one
-- that is never given twice, even after its row is gone. Text that is absent is '' and never NULL, so that
-- orders and keyset pages need no second case. `attributes` and `extras` hold members of a DICOM JSON object
-- without its braces: what a query always returns, and what it returns when asked for. Columns with several values
-- (modalities, scheduled_step_ids, requested_procedure_ids) have a backslash before, between and after them.

CREATE TABLE patients (
    id {key},
    public_id TEXT NOT NULL UNIQUE,
    patient_id TEXT NOT NULL,
    attributes TEXT NOT NULL
);

CREATE TABLE studies (
    id {key},
    patient BIGINT NOT NULL REFERENCES patients (id),
    public_id TEXT NOT NULL UNIQUE,
    uid TEXT NOT NULL,
    flags BIGINT NOT NULL,
    patient_id TEXT NOT NULL,
    patient_birth_date TEXT NOT NULL,
    patient_sex TEXT NOT NULL,
    date TEXT NOT NULL,
    time TEXT NOT NULL,
    accession_number TEXT NOT NULL,
    study_id TEXT NOT NULL,
    description TEXT NOT NULL,
    institution_name TEXT NOT NULL,
    modalities TEXT NOT NULL,
    series_count BIGINT NOT NULL,
    instance_count BIGINT NOT NULL,
    size BIGINT NOT NULL,
    first_received DOUBLE PRECISION NOT NULL,
    last_received DOUBLE PRECISION NOT NULL,
    attributes TEXT NOT NULL,
    extras TEXT NOT NULL
);

CREATE INDEX studies_patient ON studies (patient);
CREATE INDEX studies_uid ON studies (uid);
CREATE INDEX studies_patient_id ON studies (patient_id, date, id);
CREATE INDEX studies_accession_number ON studies (accession_number, date, id);
-- With the modalities in them, the two orders are filtered by modality without reading the rows passed over.
CREATE INDEX studies_date ON studies (date, id, modalities);
CREATE INDEX studies_last_received ON studies (last_received, id, modalities);

-- Person names of studies, made comparable: one row for each component group (PS3.5 §6.2.1.2).
CREATE TABLE person_names (
    study BIGINT NOT NULL REFERENCES studies (id),
    tag BIGINT NOT NULL,
    name TEXT NOT NULL
);

CREATE INDEX person_names_name ON person_names (tag, name, study);
CREATE INDEX person_names_study ON person_names (study);

CREATE TABLE series (
    id {key},
    study BIGINT NOT NULL REFERENCES studies (id),
    public_id TEXT NOT NULL UNIQUE,
    uid TEXT NOT NULL,
    flags BIGINT NOT NULL,
    modality TEXT NOT NULL,
    number BIGINT NOT NULL,
    description TEXT NOT NULL,
    date TEXT NOT NULL,
    time TEXT NOT NULL,
    performed_date TEXT NOT NULL,
    performed_time TEXT NOT NULL,
    scheduled_step_ids TEXT NOT NULL,
    requested_procedure_ids TEXT NOT NULL,
    body_part TEXT NOT NULL,
    protocol_name TEXT NOT NULL,
    manufacturer TEXT NOT NULL,
    station_name TEXT NOT NULL,
    instance_count BIGINT NOT NULL,
    size BIGINT NOT NULL,
    attributes TEXT NOT NULL,
    extras TEXT NOT NULL
);

CREATE INDEX series_uid ON series (uid);
CREATE INDEX series_study ON series (study, number, id);

CREATE TABLE instances (
    id {key},
    series BIGINT NOT NULL REFERENCES series (id),
    public_id TEXT NOT NULL UNIQUE,
    uid TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL,
    number BIGINT NOT NULL,
    key TEXT NOT NULL UNIQUE,
    version BIGINT NOT NULL,
    flags BIGINT NOT NULL,
    transfer_syntax_uid TEXT NOT NULL,
    size BIGINT NOT NULL,
    data_set_offset BIGINT NOT NULL,
    received_at DOUBLE PRECISION NOT NULL,
    via TEXT NOT NULL,
    calling_aet TEXT NOT NULL,
    called_aet TEXT NOT NULL,
    peer TEXT NOT NULL,
    attributes TEXT NOT NULL,
    extras TEXT NOT NULL
);

CREATE INDEX instances_uid ON instances (uid);
CREATE INDEX instances_series ON instances (series, number, id);

-- What happened, in order. `kind` and `level` are Orthanc's words (NewInstance, NewSeries ...; Instance, Series ...).
CREATE TABLE changes (
    seq {sequence},
    kind TEXT NOT NULL,
    level TEXT NOT NULL,
    public_id TEXT NOT NULL,
    study_uid TEXT NOT NULL,
    at DOUBLE PRECISION NOT NULL
);

-- Storage keys that no row names any more and whose files are still to be deleted.
CREATE TABLE garbage (
    key TEXT PRIMARY KEY,
    at DOUBLE PRECISION NOT NULL
);

-- While the index is being rebuilt: where each file came from, which the files themselves do not tell.
CREATE TABLE rebuild_origins (
    key TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    received_at DOUBLE PRECISION NOT NULL,
    via TEXT NOT NULL,
    calling_aet TEXT NOT NULL,
    called_aet TEXT NOT NULL,
    peer TEXT NOT NULL
);
