-- Files that users attach to patients, studies, series and instances. Rows are found by level and public id, so that
-- they outlive a rebuild of the index. `key` names the object in the store; the attached bytes are `size` from
-- `data_offset` on.
CREATE TABLE attachments (
    level TEXT NOT NULL,
    public_id TEXT NOT NULL,
    name TEXT NOT NULL,
    key TEXT NOT NULL UNIQUE,
    data_offset BIGINT NOT NULL,
    size BIGINT NOT NULL,
    md5 TEXT NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (level, public_id, name)
);
