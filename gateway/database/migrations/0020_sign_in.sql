-- Signing in: secrets that the gateway has issued, what was changed over REST about users and roles, emergency access.
--
-- Times are seconds since 1970, 0 where there is none.

-- API tokens (`api`), links to studies (`share`), and sessions of browsers (`session`). The secret itself is nowhere:
-- `digest` is its SHA-256. `parent` is the link by which a session began, '' for none. `uses_left` is null without a
-- limit. `content` is JSON: what the holder may do.
CREATE TABLE issued_tokens (
    id TEXT PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    user_name TEXT NOT NULL,
    parent TEXT NOT NULL,
    content TEXT NOT NULL,
    uses_left BIGINT,
    created_at DOUBLE PRECISION NOT NULL,
    ends_at DOUBLE PRECISION NOT NULL,
    used_at DOUBLE PRECISION NOT NULL
);
CREATE INDEX issued_tokens_by_user ON issued_tokens (kind, user_name, created_at);

-- Changes over REST to what the configuration says. `kind` is `role` (`value` is JSON, the fields of a role), `label`
-- (one that may be given), or `password` (`value` is JSON: the hash, and the hash of the configuration it replaces).
CREATE TABLE access_changes (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    changed_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (kind, name)
);

-- Each use of emergency access, also after its end.
CREATE TABLE emergency_access (
    id {sequence},
    user_name TEXT NOT NULL,
    reason TEXT NOT NULL,
    began_at DOUBLE PRECISION NOT NULL,
    ends_at DOUBLE PRECISION NOT NULL
);
CREATE INDEX emergency_access_by_end ON emergency_access (ends_at);
