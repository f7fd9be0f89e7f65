-- Patients, studies and series that have received something and are not stable yet: since when nothing has come, by the
-- clock of the watch that says so in the change log. `up_to` is the change as far as it has looked.
CREATE TABLE unstable_resources (
    level TEXT NOT NULL,
    public_id TEXT NOT NULL,
    study_uid TEXT NOT NULL,
    since DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (level, public_id)
);

CREATE INDEX unstable_resources_since ON unstable_resources (since);

CREATE TABLE stability_watch (up_to BIGINT NOT NULL);

INSERT INTO stability_watch (up_to) SELECT COALESCE(MAX(seq), 0) FROM changes;

-- Most of the change log are new instances: readers who want none of these pass them over.
CREATE INDEX changes_but_new_instances ON changes (seq, kind) WHERE kind <> 'NewInstance';
