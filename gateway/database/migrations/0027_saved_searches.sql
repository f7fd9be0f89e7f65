-- Searches for studies that users have saved, each under a name of theirs: the query string of the page.
CREATE TABLE saved_searches (
    user_name TEXT NOT NULL,
    name TEXT NOT NULL,
    query TEXT NOT NULL,
    saved_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (user_name, name)
);
