"""The statements on the records of ended associations."""

from __future__ import annotations

from gateway.database.database import Query

ADD = Query(
    "add_association_record: number, end, whether it is trouble, JSON",
    "INSERT INTO association_records (number, ended_at, is_trouble, content) VALUES ($1, $2, $3, $4) "
    "ON CONFLICT (number) DO UPDATE SET ended_at = excluded.ended_at, is_trouble = excluded.is_trouble, "
    "content = excluded.content",
)
LAST_NUMBER = Query("last_association_number: 0 for none", "SELECT COALESCE(MAX(number), 0) FROM association_records")
NEWEST = Query(
    "newest_association_records: of one kind, at most so many",
    "SELECT content FROM association_records WHERE is_trouble = $1 ORDER BY number DESC LIMIT $2",
)
OF_NUMBER = Query("association_record: of one association", "SELECT content FROM association_records WHERE number = $1")
FORGET_SURPLUS = Query(
    "forget_surplus_association_records: of one kind, all but the last so many",
    "DELETE FROM association_records WHERE is_trouble = $1 AND number <= "
    "(SELECT number FROM association_records WHERE is_trouble = $1 ORDER BY number DESC LIMIT 1 OFFSET $2)",
)
FORGET_OLD = Query(
    "forget_old_association_records: those that ended before a time",
    "DELETE FROM association_records WHERE ended_at < $1",
)
