-- Records of ended associations, for people: the last of each kind, without patient data. `number` is that of the
-- association; those of later runs are higher. `content` is JSON.
CREATE TABLE association_records (
    number BIGINT PRIMARY KEY,
    ended_at DOUBLE PRECISION NOT NULL,
    is_trouble BIGINT NOT NULL,
    content {bytes} NOT NULL
);
CREATE INDEX association_records_by_kind ON association_records (is_trouble, number);
CREATE INDEX association_records_by_end ON association_records (ended_at);
