-- The segments of the store. `mark` is the offset up to which the rows of what is in one are committed: recovery reads
-- from there. `live` are the bytes of what is not erased yet; `ended` is 1 once nothing is added any more, and 2
-- once all that lives in one has been moved, and its old frames wait for their readers. `checked_at`: when its checksums
-- were compared last, seconds since 1970; 0 for never.
CREATE TABLE segments (
    name TEXT PRIMARY KEY,
    mark BIGINT NOT NULL,
    live BIGINT NOT NULL,
    ended BIGINT NOT NULL,
    checked_at DOUBLE PRECISION NOT NULL
);
