"""Every statement about storage commitment, worklist items and performed procedure steps."""

from __future__ import annotations

from gateway.database.database import Query, numbered

# --- storage commitment -------------------------------------------------------------------------------------------

ADD_COMMITMENT = Query(
    "add_commitment: a request, ours or a peer's, still undecided",
    """
    INSERT INTO commitments (role, transaction_uid, peer_aet, our_aet, destination, cause, state, requested_at,
        decided_at, reported_at, kept_until, tenant)
    VALUES ($1, $2, $3, $4, $5, $6, 'open', $7, 0, 0, 0, $8) RETURNING id
    """,
)
ADD_COMMITMENT_ITEM = Query(
    "add_commitment_item: an instance that a request is about",
    "INSERT INTO commitment_items (commitment, sop_class_uid, sop_instance_uid, reason) VALUES ($1, $2, $3, $4)",
)
_COMMITMENT = """SELECT id, role, transaction_uid, peer_aet, our_aet, destination, cause, state, requested_at,
    decided_at, reported_at, kept_until, tenant FROM commitments"""
GET_COMMITMENT = Query("get_commitment: one", f"{_COMMITMENT} WHERE id = $1")
FIND_COMMITMENTS = Query(
    "find_commitments: of a transaction, as one role, newest first",
    f"{_COMMITMENT} WHERE transaction_uid = $1 AND role = $2 ORDER BY id DESC",
)
ASKED_OF = Query(
    "asked_of: the last request to a destination that a commitment has caused",
    f"{_COMMITMENT} WHERE cause = $1 AND destination = $2 ORDER BY id DESC LIMIT 1",
)
COMMITMENT_ITEMS = Query(
    "commitment_items: of one, with what was decided",
    "SELECT sop_class_uid, sop_instance_uid, reason FROM commitment_items WHERE commitment = $1"
    " ORDER BY sop_instance_uid",
)
DECIDE_ITEM = Query(
    "decide_item: committed (0), or why not",
    "UPDATE commitment_items SET reason = $3 WHERE commitment = $1 AND sop_instance_uid = $2",
)
DECIDE_COMMITMENT = Query(
    "decide_commitment: every instance is decided; the committed ones are retained until $3",
    "UPDATE commitments SET decided_at = $2, kept_until = $3 WHERE id = $1",
)
END_COMMITMENT = Query(
    "end_commitment: the outcome is reported, or cannot be",
    "UPDATE commitments SET state = $2, reported_at = $3 WHERE id = $1 AND state = 'open' RETURNING id",
)
_STORED = "FROM instances i JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study WHERE"
IS_STORED = Query(
    "is_stored: a row where an instance of a tenant is there, with '' of anybody",
    f"SELECT 1 {_STORED} i.uid = $1 AND ($2 = '' OR t.tenant = $2) LIMIT 1",
)
PUBLIC_IDS = Query("public_ids: of the instances of a UID", "SELECT public_id FROM instances WHERE uid = $1")
_PROMISED = """
    SELECT i.uid, MAX(c.kept_until) FROM instances i JOIN commitment_items m ON m.sop_instance_uid = i.uid
    JOIN commitments c ON c.id = m.commitment JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study
    WHERE {condition} AND m.reason = 0 AND c.role = 'SCP' AND (c.kept_until > $2 OR c.decided_at = 0)
        AND (c.tenant = '' OR c.tenant = t.tenant)
    GROUP BY i.uid ORDER BY 2 DESC LIMIT 1
"""
PROMISED_BELOW = {
    level: Query(
        f"promised_below a {level}: the instance retained longest after $2, and until when; 0: not decided yet",
        _PROMISED.format(condition=condition),
    )
    for level, condition in (
        ("patient", "t.patient = $1"),
        ("study", "s.study = $1"),
        ("series", "i.series = $1"),
        ("instance", "i.id = $1"),
    )
}


def stored_instances(count: int) -> Query:
    """The query for `count` instances by SOP Instance UID, each under every parent that it has with a tenant, the last
    parameter, or with anybody if that is ''."""
    tenant = f"${count + 1}"
    return Query(
        "stored_instances: class, file and length by SOP instance UID",
        f"SELECT i.uid, i.sop_class_uid, i.key, i.size {_STORED} i.uid IN ({numbered(count)}) "
        f"AND ({tenant} = '' OR t.tenant = {tenant})",
    )


# --- the modality worklist ----------------------------------------------------------------------------------------

_ITEM = "SELECT id, public_id, source, fingerprint, created_at, changed_at, data, tenant FROM worklist_items"
ADD_WORKLIST_ITEM = Query(
    "add_worklist_item: a new one",
    """
    INSERT INTO worklist_items (public_id, source, fingerprint, study_uid, first_date, last_date, created_at,
        changed_at, data, tenant)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8, $9)
    """,
)
CHANGE_WORKLIST_ITEM = Query(
    "change_worklist_item: its data set",
    """
    UPDATE worklist_items SET fingerprint = $2, study_uid = $3, first_date = $4, last_date = $5, changed_at = $6,
        data = $7
    WHERE public_id = $1 RETURNING id
    """,
)
REMOVE_WORKLIST_ITEM = Query(
    "remove_worklist_item: one", "DELETE FROM worklist_items WHERE public_id = $1 RETURNING id"
)
GET_WORKLIST_ITEM = Query("get_worklist_item: by public id", f"{_ITEM} WHERE public_id = $1")
LIST_WORKLIST_ITEMS = Query("list_worklist_items: a page, in order", f"{_ITEM} WHERE id > $1 ORDER BY id LIMIT $2")
WORKLIST_BETWEEN = Query(
    "worklist_between: a page of items whose steps may begin in a range of dates, or have no date, in order",
    f"{_ITEM} WHERE id > $1 AND (first_date = '' OR (last_date >= $3 AND first_date <= $4)) ORDER BY id LIMIT $2",
)
WORKLIST_OF_STUDY = Query("worklist_of_study: items of a study", f"{_ITEM} WHERE study_uid = $1 ORDER BY id")
WORKLIST_FILES = Query(
    "worklist_files: items that came from files",
    "SELECT source, fingerprint, public_id, tenant FROM worklist_items WHERE source <> ''",
)

# --- performed procedure steps ------------------------------------------------------------------------------------

_STEP = "SELECT id, uid, state, calling_aet, called_aet, created_at, changed_at, data, tenant FROM performed_steps"
ADD_STEP = Query(
    "add_step: a performed procedure step; no row where it is there already",
    """
    INSERT INTO performed_steps (uid, state, calling_aet, called_aet, created_at, changed_at, data, tenant)
    VALUES ($1, $2, $3, $4, $5, $5, $6, $7) ON CONFLICT (uid, tenant) DO NOTHING RETURNING id
    """,
)
CHANGE_STEP = Query(
    "change_step: one that is in progress",
    "UPDATE performed_steps SET state = $2, changed_at = $3, data = $4 WHERE id = $1 AND state = 'IN PROGRESS'"
    " RETURNING id",
)
GET_STEP = Query(
    "get_step: by SOP instance UID, of a tenant; with '' of anybody, where two say that it is not one",
    f"{_STEP} WHERE uid = $1 AND ($2 = '' OR tenant = $2) ORDER BY tenant LIMIT 2",
)
LIST_STEPS = Query("list_steps: a page, newest first", f"{_STEP} WHERE id < $1 ORDER BY id DESC LIMIT $2")
REMOVE_STEP = Query("remove_step: one", "DELETE FROM performed_steps WHERE id = $1 RETURNING id")
