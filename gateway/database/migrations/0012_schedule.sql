-- When `due_at` was written. A time to come says that the clock was ahead then: `due_at` is as much too late.
ALTER TABLE jobs ADD COLUMN scheduled_at DOUBLE PRECISION NOT NULL DEFAULT 0;
