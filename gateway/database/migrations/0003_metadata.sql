-- Metadata that has been made for WADO-RS, kept to be sent again: one row for up to a hundred instances of a series.
--
-- `tag` is made of what the text depends on, storage keys among it, so that no row is ever out of date; what nobody
-- asks for any more goes when room is needed. `body` is compressed. Emptying the table loses nothing.

CREATE TABLE metadata (
    tag TEXT PRIMARY KEY,
    study_uid TEXT NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    length BIGINT NOT NULL,
    checksum BIGINT NOT NULL,
    size BIGINT NOT NULL,
    body {bytes} NOT NULL
);

CREATE INDEX metadata_study ON metadata (study_uid);
-- With the sizes in it, how much there is is added up without reading the rows.
CREATE INDEX metadata_at ON metadata (at, tag, size);
