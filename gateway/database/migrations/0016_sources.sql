-- Which AE title the first instance of a study came from, by which roles may show it.
ALTER TABLE studies ADD COLUMN source TEXT NOT NULL DEFAULT '';

UPDATE studies SET source = COALESCE((
    SELECT i.calling_aet FROM series s JOIN instances i ON i.series = s.id WHERE s.study = studies.id
    ORDER BY i.id LIMIT 1
), '');
