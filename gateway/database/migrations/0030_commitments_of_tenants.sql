-- Whose a request for storage commitment is: the name of a tenant, or '' for who is above them, as before. Another tenant's
-- instance of the same UID is neither looked at for it nor retained by it.
ALTER TABLE commitments ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
