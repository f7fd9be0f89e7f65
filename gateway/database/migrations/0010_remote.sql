-- Other systems, as they are added over REST; what jobs tell of themselves while they run; queries that are kept.
--
-- Times are seconds since 1970, 0 where there is none.

-- Systems that were added while the gateway runs. `kind` is modality, peer or server (DICOMweb). `fields` is JSON, in
-- the names of Orthanc's REST API.
CREATE TABLE remote_systems (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    fields TEXT NOT NULL,
    changed_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (kind, name)
);

-- How far a job is, and what it says of itself, for the kinds that do: `content` is a JSON object. `position` is where
-- it goes on after an interruption, in steps of its kind. `error_payload` is JSON about what went wrong, null for
-- nothing to say.
CREATE TABLE job_progress (
    job BIGINT PRIMARY KEY,
    percent BIGINT NOT NULL,
    position BIGINT NOT NULL,
    content TEXT NOT NULL,
    error_payload TEXT NOT NULL
);

-- C-FINDs whose answers are kept for a while. `keys` and `answers` are JSON in the DICOM JSON Model, an object and a
-- list of objects.
CREATE TABLE remote_queries (
    id {sequence},
    public_id TEXT NOT NULL UNIQUE,
    modality TEXT NOT NULL,
    level TEXT NOT NULL,
    keys TEXT NOT NULL,
    answers TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL
);
