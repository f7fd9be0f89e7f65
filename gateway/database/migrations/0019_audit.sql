-- Who saw, searched, changed, sent and deleted what. Entries are only ever added, and the oldest removed after their
-- time: each has the SHA-256 of the entry before it and of its own columns.
CREATE TABLE audit_log (
    seq BIGINT PRIMARY KEY,
    at DOUBLE PRECISION NOT NULL,
    action TEXT NOT NULL,
    outcome TEXT NOT NULL,
    user_name TEXT NOT NULL,
    token TEXT NOT NULL,
    origin TEXT NOT NULL,
    level TEXT NOT NULL,
    public_id TEXT NOT NULL,
    study_uid TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    detail TEXT NOT NULL,
    hash {bytes} NOT NULL
);

CREATE INDEX audit_log_at ON audit_log (at);
CREATE INDEX audit_log_user_name ON audit_log (user_name, at);
CREATE INDEX audit_log_public_id ON audit_log (public_id, at);
CREATE INDEX audit_log_study_uid ON audit_log (study_uid, at);
CREATE INDEX audit_log_action ON audit_log (action, at);

-- Numbers of entries with their hashes: the last that was removed ('start'), the last that was added ('end'), the last
-- that the receiver of audit messages has ('sent').
CREATE TABLE audit_marks (
    name TEXT PRIMARY KEY,
    seq BIGINT NOT NULL,
    hash {bytes} NOT NULL,
    at DOUBLE PRECISION NOT NULL
);
