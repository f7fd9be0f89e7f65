"""The statements of the audit log."""

from __future__ import annotations

from typing import Final

from gateway.database.database import Query

_COLUMNS: Final = (
    "seq, at, action, outcome, user_name, token, origin, level, public_id, study_uid, patient_id, number, detail, hash"
)

ADD = Query(
    "add_audit: an entry with its place in the chain",
    f"INSERT INTO audit_log ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
)
MARK = Query("audit_mark: number, hash and time", "SELECT seq, hash, at FROM audit_marks WHERE name = $1")
SET_MARK = Query(
    "set_audit_mark: number, hash and time",
    "INSERT INTO audit_marks (name, seq, hash, at) VALUES ($1, $2, $3, $4) "
    "ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, at = excluded.at",
)
AFTER = Query(
    "audit_after: entries after a number, in order",
    f"SELECT {_COLUMNS} FROM audit_log WHERE seq > $1 ORDER BY seq LIMIT $2",
)
FIRST = Query("first_audit: number and time of the oldest entry", "SELECT seq, at FROM audit_log ORDER BY seq LIMIT 1")
EXPIRED = Query(
    "expired_audit: the last of the $2 oldest entries, with its time and hash, all of them from before a time",
    "SELECT MAX(seq), MAX(at) FROM (SELECT seq, at FROM audit_log ORDER BY seq LIMIT $2) AS o HAVING MAX(at) < $1",
)
HASH = Query("audit_hash: of an entry", "SELECT hash FROM audit_log WHERE seq = $1")
FORGET = Query("forget_audit: entries up to a number", "DELETE FROM audit_log WHERE seq <= $1")

CONDITIONS: Final = {
    "user": "user_name = {}",
    "public_id": "public_id = {}",
    "study_uid": "study_uid = {}",
    "action": "action = {}",
    "since": "at >= {}",
    "until": "at < {}",
}
"""By what entries are searched for."""


def search(names: tuple[str, ...]) -> Query:
    """The statement for a page of entries, newest first, that fulfil the conditions of these names.

    Parameters: what each condition compares with, then how many entries are wanted, and how many passed over.
    """
    conditions = [CONDITIONS[name].format(f"${number}") for number, name in enumerate(names, 1)]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return Query(
        f"search_audit: by {', '.join(names) or 'nothing'}",
        f"SELECT {_COLUMNS} FROM audit_log{where} ORDER BY at DESC, seq DESC "
        f"LIMIT ${len(names) + 1} OFFSET ${len(names) + 2}",
    )


_STUDY: Final = "t.public_id, t.uid, t.patient_id"
_WHOSE: Final = {
    "patient": ("p.public_id", "'', '', p.patient_id", "patients p"),
    "study": ("t.public_id", _STUDY, "studies t"),
    "series": ("s.public_id", _STUDY, "series s JOIN studies t ON t.id = s.study"),
    "instance": (
        "i.public_id",
        _STUDY,
        "instances i JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study",
    ),
    "uid": ("t.uid", _STUDY, "studies t"),
}
SOP_CLASSES: Final = Query(
    "audit_sop_classes: how many instances a study has of each",
    """
    SELECT i.sop_class_uid, COUNT(*) FROM studies t JOIN series s ON s.study = t.id JOIN instances i ON i.series = s.id
    WHERE t.uid = $1 GROUP BY i.sop_class_uid
    """,
)
IDENTIFIED_AT_ONCE: Final = 64
STUDIES_OF: Final = {
    (kind, count): Query(
        f"audit_studies_of: {count} by {kind}, with public id, UID and Patient ID of the study",
        f"SELECT {key}, {columns} FROM {tables} WHERE {key} IN "
        f"({', '.join([f'${number}' for number in range(1, count + 1)])})",
    )
    for kind, (key, columns, tables) in _WHOSE.items()
    for count in (1, IDENTIFIED_AT_ONCE)
}
"""By what the names are, public ids of a level or Study Instance UIDs, and how many there are."""
