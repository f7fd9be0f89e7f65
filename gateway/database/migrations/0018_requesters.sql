-- Who asked for a job, and what they could see then, in the words of index/visibility.py; '' for everything.
ALTER TABLE jobs ADD COLUMN requester TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN seen TEXT NOT NULL DEFAULT '';
