-- The labels that decide who sees a study, its own and its patient's, as '/a/b/': what a role shows is then decided by the
-- row alone. Written with every label that is given or taken, and with the study.
ALTER TABLE studies ADD COLUMN labels TEXT NOT NULL DEFAULT '';

UPDATE studies SET labels = COALESCE((
    SELECT '/' || group_concat(l.label, '/') || '/' FROM resource_labels l
    WHERE (l.level = 'study' AND l.public_id = studies.public_id) OR (l.level = 'patient'
        AND l.public_id = (SELECT p.public_id FROM patients p WHERE p.id = studies.patient))
), '')
WHERE public_id IN (SELECT l.public_id FROM resource_labels l WHERE l.level = 'study')
    OR patient IN (SELECT p.id FROM patients p JOIN resource_labels l ON l.public_id = p.public_id
        WHERE l.level = 'patient');
