-- Whose a study is: the name of a tenant, or '' for none. The index is for those of tenants alone, so that an archive
-- without any pays nothing for it; it has no column that is written with every instance.
ALTER TABLE studies ADD COLUMN tenant TEXT NOT NULL DEFAULT '';

CREATE INDEX studies_tenant ON studies (tenant, id) WHERE tenant <> '';
