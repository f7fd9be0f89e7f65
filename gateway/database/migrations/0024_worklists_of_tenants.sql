-- Whose a worklist item and a performed procedure step are: the name of a tenant, or '' for none. Two tenants may have
-- steps of the same UID, and neither hears of the other's: the table is made anew, since its UIDs were unique in all.
ALTER TABLE worklist_items ADD COLUMN tenant TEXT NOT NULL DEFAULT '';

CREATE TABLE steps_of_tenants (
    id {sequence},
    uid TEXT NOT NULL,
    state TEXT NOT NULL,
    calling_aet TEXT NOT NULL,
    called_aet TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    changed_at DOUBLE PRECISION NOT NULL,
    data TEXT NOT NULL,
    tenant TEXT NOT NULL DEFAULT '',
    UNIQUE (uid, tenant)
);

INSERT INTO steps_of_tenants (id, uid, state, calling_aet, called_aet, created_at, changed_at, data)
    SELECT id, uid, state, calling_aet, called_aet, created_at, changed_at, data FROM performed_steps;
DROP TABLE performed_steps;
ALTER TABLE steps_of_tenants RENAME TO performed_steps;
CREATE INDEX performed_steps_created ON performed_steps (created_at, id);
