-- Of a job also by what its requester had signed in, and from where they asked; of a kept query who asked. '' where
-- nobody need be named, and for what was asked before.
ALTER TABLE jobs ADD COLUMN requester_token TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN requester_origin TEXT NOT NULL DEFAULT '';
ALTER TABLE remote_queries ADD COLUMN requester TEXT NOT NULL DEFAULT '';
