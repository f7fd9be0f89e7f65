-- The last version of each instance that was deleted, so that one that comes again goes on counting from there: what
-- outlives it (deliveries, proofs) is keyed by identity and version, and must not be taken for the new one's.

CREATE TABLE deleted_instances (
    public_id TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    at DOUBLE PRECISION NOT NULL
);

CREATE INDEX deleted_instances_at ON deleted_instances (at);

INSERT INTO deleted_instances (public_id, version, at)
SELECT instance, MAX(version), MAX(created_at) FROM deliveries
WHERE instance NOT IN (SELECT public_id FROM instances) GROUP BY instance;

-- Files of the store that a rebuild of the index could not read: known, so that a start does not take the index for
-- older than the store.
CREATE TABLE unreadable_files (
    key TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    at DOUBLE PRECISION NOT NULL
);
