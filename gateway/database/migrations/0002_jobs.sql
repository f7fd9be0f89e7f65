-- Durable work, storage commitment, the modality worklist, performed procedure steps.
--
-- Times are seconds since 1970, 0 where there is none.

-- One row for each piece of work. `state` is waiting, running, held, done, failed or cancelled. Jobs of a `lane` share
-- a limit on how many run at once (a lane is a destination, most often); jobs of a `chain` run one after the other,
-- in the order of their ids ('' is no chain). `payload` is JSON. `owner` is the runner that holds the lease.
CREATE TABLE jobs (
    id {sequence},
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    lane TEXT NOT NULL,
    chain TEXT NOT NULL,
    priority BIGINT NOT NULL,
    payload TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    due_at DOUBLE PRECISION NOT NULL,
    lease_until DOUBLE PRECISION NOT NULL,
    owner TEXT NOT NULL,
    finished_at DOUBLE PRECISION NOT NULL,
    error TEXT NOT NULL
);

CREATE INDEX jobs_next ON jobs (state, lane, priority DESC, due_at, id);
CREATE INDEX jobs_due ON jobs (state, due_at);
CREATE INDEX jobs_chain ON jobs (chain, id);
CREATE INDEX jobs_finished ON jobs (finished_at, id);

-- Storage commitment, both ways (PS3.4 Annex J). `role` is SCP where we were asked and SCU where we asked; `peer_aet`
-- is who asked or was asked, `our_aet` what we were called or called ourselves. `state` is open, reported (the outcome
-- has been told) or failed (it could not be). `cause` is, for a request of ours, the commitment that waits for it.
-- `kept_until` is what we promised.
CREATE TABLE commitments (
    id {sequence},
    role TEXT NOT NULL,
    transaction_uid TEXT NOT NULL,
    peer_aet TEXT NOT NULL,
    our_aet TEXT NOT NULL,
    destination TEXT NOT NULL,
    cause BIGINT NOT NULL,
    state TEXT NOT NULL,
    requested_at DOUBLE PRECISION NOT NULL,
    decided_at DOUBLE PRECISION NOT NULL,
    reported_at DOUBLE PRECISION NOT NULL,
    kept_until DOUBLE PRECISION NOT NULL
);

CREATE INDEX commitments_transaction ON commitments (transaction_uid, role);
CREATE INDEX commitments_cause ON commitments (cause, destination, id);
CREATE INDEX commitments_requested ON commitments (requested_at, id);

-- `reason` is the Failure Reason (0008,1197); 0 committed, -1 not decided yet.
CREATE TABLE commitment_items (
    commitment BIGINT NOT NULL REFERENCES commitments (id),
    sop_class_uid TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL,
    reason BIGINT NOT NULL,
    PRIMARY KEY (commitment, sop_instance_uid)
);

CREATE INDEX commitment_items_instance ON commitment_items (sop_instance_uid);

-- Worklist items (PS3.4 Annex K). `source` is '' for those made over REST, else the name of the file, whose
-- `fingerprint` tells when it has changed. `data` is a DICOM JSON object. First and last date are those of the steps,
-- '' where one has none.
CREATE TABLE worklist_items (
    id {key},
    public_id TEXT NOT NULL UNIQUE,
    source TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    study_uid TEXT NOT NULL,
    first_date TEXT NOT NULL,
    last_date TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    changed_at DOUBLE PRECISION NOT NULL,
    data TEXT NOT NULL
);

CREATE INDEX worklist_items_last_date ON worklist_items (last_date, id);
CREATE INDEX worklist_items_study ON worklist_items (study_uid);
CREATE INDEX worklist_items_source ON worklist_items (source);

-- Modality performed procedure steps (PS3.4 F.7). `data` is a DICOM JSON object, all N-SETs merged into it.
CREATE TABLE performed_steps (
    id {sequence},
    uid TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    calling_aet TEXT NOT NULL,
    called_aet TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    changed_at DOUBLE PRECISION NOT NULL,
    data TEXT NOT NULL
);

CREATE INDEX performed_steps_created ON performed_steps (created_at, id);
