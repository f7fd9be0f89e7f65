-- Studies of one UID under several patients (an anonymised copy beside its original): `shared` is 1 in each of them, so
-- that a search or retrieval sees in the row it reads anyway that the UIDs alone do not say whose the study is.

ALTER TABLE studies ADD COLUMN shared BIGINT NOT NULL DEFAULT 0;

UPDATE studies SET shared = 1 WHERE uid IN (SELECT uid FROM studies GROUP BY uid HAVING COUNT(*) > 1);
