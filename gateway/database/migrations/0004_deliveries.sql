-- Deliveries: what goes to which destination, and how it stands with the lanes of jobs.
--
-- Times are seconds since 1970, 0 where there is none.

-- Lanes of jobs that were ever held by a person, or paused because nobody answered there `failures` times in a row.
CREATE TABLE lanes (
    lane TEXT PRIMARY KEY,
    held BIGINT NOT NULL,
    paused_until DOUBLE PRECISION NOT NULL,
    failures BIGINT NOT NULL,
    reason TEXT NOT NULL
);

-- One row for each version of an instance, set of changes and destination; kept when its job is gone. `patient`, `study`,
-- `series` and `instance` are public ids, `changes` is the name of a set ('': none) and `changes_version` the digest of
-- what it said when it was applied. `generation` is the digest of the configuration that asked for it. `job` does it.
-- `outcome` is '' while it is not over, else delivered, refused, dead or cancelled; `status` what the destination
-- answered (-1: nothing), `detail` the same in words, `sent` bytes, `sent_uid` the SOP Instance UID that left.
-- `proof` counts how often the destination was asked in vain whether it has it; `proven_at` when it said yes.
CREATE TABLE deliveries (
    id {sequence},
    job BIGINT NOT NULL,
    study TEXT NOT NULL,
    series TEXT NOT NULL,
    instance TEXT NOT NULL,
    version BIGINT NOT NULL,
    study_uid TEXT NOT NULL,
    series_uid TEXT NOT NULL,
    sop_uid TEXT NOT NULL,
    destination TEXT NOT NULL,
    changes TEXT NOT NULL,
    changes_version TEXT NOT NULL,
    rule TEXT NOT NULL,
    generation TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    ended_at DOUBLE PRECISION NOT NULL,
    outcome TEXT NOT NULL,
    status BIGINT NOT NULL,
    detail TEXT NOT NULL,
    sent BIGINT NOT NULL,
    sent_study_uid TEXT NOT NULL,
    sent_series_uid TEXT NOT NULL,
    sent_uid TEXT NOT NULL,
    proof BIGINT NOT NULL,
    proven_at DOUBLE PRECISION NOT NULL
);

CREATE UNIQUE INDEX deliveries_once ON deliveries (instance, version, destination, changes);
CREATE INDEX deliveries_study ON deliveries (study, id);
CREATE INDEX deliveries_uid ON deliveries (sop_uid);
CREATE INDEX deliveries_outcome ON deliveries (destination, outcome, id);
CREATE INDEX deliveries_job ON deliveries (job);
CREATE INDEX deliveries_ended ON deliveries (ended_at, id);
