"""Every statement about other systems that were added over REST, and about the queries to them that are kept."""

from __future__ import annotations

from gateway.database.database import Query

ADDED_SYSTEMS = Query("added_systems: all of them", "SELECT kind, name, fields FROM remote_systems ORDER BY kind, name")
PUT_SYSTEM = Query(
    "put_system: one, or what it is now",
    """
    INSERT INTO remote_systems (kind, name, fields, changed_at) VALUES ($1, $2, $3, $4)
    ON CONFLICT (kind, name) DO UPDATE SET fields = $3, changed_at = $4
    """,
)
COUNT_SYSTEMS = Query("count_systems: of a kind", "SELECT COUNT(*) FROM remote_systems WHERE kind = $1")
REMOVE_SYSTEM = Query("remove_system: one", "DELETE FROM remote_systems WHERE kind = $1 AND name = $2 RETURNING name")

KEEP_QUERY = Query(
    "keep_query: with its answers",
    """
    INSERT INTO remote_queries (public_id, modality, level, keys, answers, created_at, requester)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    """,
)
FORGET_QUERIES = Query(
    "forget_queries: the oldest ones, so that $1 stay",
    "DELETE FROM remote_queries WHERE id <= (SELECT id FROM remote_queries ORDER BY id DESC LIMIT 1 OFFSET $1)",
)
LIST_QUERIES = Query(
    "list_queries: the public ids of those of one requester or ('') of all",
    "SELECT public_id FROM remote_queries WHERE ($1 = '' OR requester = $1) ORDER BY public_id",
)
GET_QUERY = Query(
    "get_query: one with its answers, of one requester or ('') of anybody",
    "SELECT public_id, modality, level, keys, answers FROM remote_queries "
    "WHERE public_id = $1 AND ($2 = '' OR requester = $2)",
)
REMOVE_QUERY = Query(
    "remove_query: one, of one requester or ('') of anybody",
    "DELETE FROM remote_queries WHERE public_id = $1 AND ($2 = '' OR requester = $2)",
)
FORGET_ANSWERS = Query("forget_answers: of every query that is kept", "DELETE FROM remote_queries")
