"""Every statement about users: issued tokens, changes of users and roles, emergency access, saved searches."""

from __future__ import annotations

from typing import Final

from gateway.database.database import Query

_COLUMNS: Final = """id, kind, name, user_name, parent, content, uses_left, created_at, ends_at, used_at,
    instances_left, bytes_left"""

ADD_TOKEN = Query(
    "add_token: one that was issued",
    """
    INSERT INTO issued_tokens (id, digest, kind, name, user_name, parent, content, uses_left, created_at, ends_at,
    used_at, instances_left, bytes_left) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, $11, $12)
    """,
)
FIND_TOKEN = Query("find_token: by the digest of the secret", f"SELECT {_COLUMNS} FROM issued_tokens WHERE digest = $1")
LIST_TOKENS = Query(
    "list_tokens: of a kind, of one user or ('') of all, that have not ended",
    f"""
    SELECT {_COLUMNS} FROM issued_tokens WHERE kind = $1 AND ($2 = '' OR user_name = $2) AND ends_at > $3
    ORDER BY created_at, id
    """,
)
COUNT_TOKENS = Query(
    "count_tokens: of a kind and a user", "SELECT COUNT(*) FROM issued_tokens WHERE kind = $1 AND user_name = $2"
)
REMOVE_OLDEST = Query(
    "remove_oldest: all of a kind and a user but the newest $3",
    """
    DELETE FROM issued_tokens WHERE kind = $1 AND user_name = $2 AND id NOT IN (
    SELECT id FROM issued_tokens WHERE kind = $1 AND user_name = $2 ORDER BY created_at DESC, id DESC LIMIT $3)
    """,
)
REMOVE_ENDED = Query("remove_ended: all that have ended", "DELETE FROM issued_tokens WHERE ends_at <= $1")
REMOVE_TOKEN = Query(
    "remove_token: one of a kind, of one user or ('') of anybody",
    "DELETE FROM issued_tokens WHERE id = $1 AND kind = $2 AND ($3 = '' OR user_name = $3) RETURNING id",
)
REMOVE_CHILDREN = Query("remove_children: sessions that began by a link", "DELETE FROM issued_tokens WHERE parent = $1")
REMOVE_SESSIONS = Query(
    "remove_sessions: all of a user but one",
    "DELETE FROM issued_tokens WHERE kind = 'session' AND user_name = $1 AND digest <> $2",
)
COUNT_USE = Query(
    "count_use: one of those that are left; no row if none is",
    f"""
    UPDATE issued_tokens SET uses_left = uses_left - 1, used_at = $2 WHERE digest = $1 AND uses_left > 0
    RETURNING {_COLUMNS}
    """,
)
TAKE_ROOM = Query(
    "take_room: of one instance of $2 bytes; no row if there is none",
    """
    UPDATE issued_tokens SET instances_left = instances_left - 1, bytes_left = bytes_left - $2
    WHERE id = $1 AND COALESCE(instances_left, 1) >= 1 AND COALESCE(bytes_left, $2) >= $2 RETURNING id
    """,
)
GIVE_BACK_ROOM = Query(
    "give_back_room: of one instance of $2 bytes",
    "UPDATE issued_tokens SET instances_left = instances_left + 1, bytes_left = bytes_left + $2 WHERE id = $1",
)
NOTE_USE = Query("note_use: when it was used last", "UPDATE issued_tokens SET used_at = $2 WHERE id = $1")

LIST_CHANGES = Query(
    "list_access_changes: all of them", "SELECT kind, name, value FROM access_changes ORDER BY kind, name"
)
PUT_CHANGE = Query(
    "put_access_change: one, or what it is now",
    """
    INSERT INTO access_changes (kind, name, value, changed_at) VALUES ($1, $2, $3, $4)
    ON CONFLICT (kind, name) DO UPDATE SET value = $3, changed_at = $4
    """,
)
CLEAR_CHANGES = Query("clear_access_changes: of a kind", "DELETE FROM access_changes WHERE kind = $1")

BREAK_GLASS = Query(
    "break_glass: begin emergency access",
    "INSERT INTO emergency_access (user_name, reason, began_at, ends_at) VALUES ($1, $2, $3, $4) RETURNING id",
)
EMERGENCY = Query("emergency: one", "SELECT user_name, reason, began_at, ends_at FROM emergency_access WHERE id = $1")
END_EMERGENCIES = Query(
    "end_emergencies: of a user, now", "UPDATE emergency_access SET ends_at = $2 WHERE user_name = $1 AND ends_at > $2"
)
OPEN_EMERGENCIES = Query(
    "open_emergencies: those that have not ended",
    "SELECT user_name, reason, began_at, ends_at FROM emergency_access WHERE ends_at > $1 ORDER BY id",
)
SAVED_SEARCHES = Query(
    "saved_searches: of a user, the oldest first",
    "SELECT name, query FROM saved_searches WHERE user_name = $1 ORDER BY saved_at, name",
)
SAVE_SEARCH = Query(
    "save_search: under its name, in place of one that has it",
    """
    INSERT INTO saved_searches (user_name, name, query, saved_at) VALUES ($1, $2, $3, $4)
    ON CONFLICT (user_name, name) DO UPDATE SET query = EXCLUDED.query, saved_at = EXCLUDED.saved_at
    """,
)
FORGET_OLDEST_SEARCHES = Query(
    "forget_oldest_searches: all of a user but the newest $2",
    """
    DELETE FROM saved_searches WHERE user_name = $1 AND name NOT IN (
    SELECT name FROM saved_searches WHERE user_name = $1 ORDER BY saved_at DESC, name DESC LIMIT $2)
    """,
)
FORGET_SEARCH = Query(
    "forget_search: of a user, by its name",
    "DELETE FROM saved_searches WHERE user_name = $1 AND name = $2 RETURNING name",
)
