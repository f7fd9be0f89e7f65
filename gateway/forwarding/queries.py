"""Every statement about deliveries; `table.py` says what each is for."""

from __future__ import annotations

from typing import Final

from gateway.database.database import Query
from gateway.index.queries.columns import COLUMNS

_OPEN: Final = "('waiting', 'running', 'held')"

ADD = Query(
    "add_delivery: of a version of an instance, under a change set, to a destination; no row where it exists",
    """
    INSERT INTO deliveries (job, study, series, instance, version, study_uid, series_uid, sop_uid, destination, changes,
        changes_version, rule, generation, created_at, ended_at, outcome, status, detail, sent, sent_study_uid,
        sent_series_uid, sent_uid, proof, proven_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '', $11, $12, $13, 0, '', -1, '', 0, '', '', '', 0, 0)
    """,
)
KNOWN = Query(
    "known_delivery: a row where the delivery exists",
    "SELECT id FROM deliveries WHERE instance = $1 AND version = $2 AND destination = $3 AND changes = $4",
)
STUDY_BEGAN = Query(
    "study_began: when the first instance came", "SELECT first_received FROM studies WHERE public_id = $1"
)
SUPERSEDED = Query(
    "superseded_deliveries: those of earlier versions of an instance that are not over",
    f"""
    SELECT d.id, d.job FROM deliveries d JOIN jobs j ON j.id = d.job
    WHERE d.instance = $1 AND d.version < $2 AND d.outcome = '' AND j.state IN {_OPEN}
    """,
)
END = Query(
    "end_delivery: the outcome of a delivery that failed or was cancelled",
    "UPDATE deliveries SET ended_at = $2, outcome = $3, detail = $4 WHERE job = $1",
)
ANSWERED = Query(
    "delivery_answered: the destination's answer, and the bytes sent",
    "UPDATE deliveries SET status = $2, sent = sent + $3 WHERE job = $1",
)
DELIVERED = Query(
    "delivered: the destination's answer, the bytes and UIDs sent, and the version of the change set",
    """
    UPDATE deliveries SET ended_at = $2, outcome = 'delivered', status = $3, detail = $4, sent = sent + $5,
        changes_version = $6, sent_study_uid = $7, sent_series_uid = $8, sent_uid = $9, proven_at = 0
    WHERE job = $1
    """,
)
CANCEL = Query(
    "cancel_delivery: one that is not over",
    "UPDATE deliveries SET ended_at = $2, outcome = 'cancelled', detail = $3 WHERE id = $1 AND outcome = ''",
)
REOPEN = Query(
    "reopen_delivery: another job does the delivery",
    "UPDATE deliveries SET job = $2, outcome = '', ended_at = 0 WHERE id = $1",
)
_COLUMNS = """d.id, d.job, d.study, d.series, d.instance, d.version, d.study_uid, d.series_uid, d.sop_uid,
    d.destination, d.changes, d.changes_version, d.rule, d.generation, d.created_at, d.ended_at, d.outcome, d.status,
    d.detail, d.sent, d.sent_study_uid, d.sent_series_uid, d.sent_uid, d.proof, d.proven_at, COALESCE(j.state, ''),
    COALESCE(j.attempts, 0), COALESCE(j.due_at, 0), COALESCE(j.error, ''), COALESCE(j.priority, 0)"""
_JOINED = f"SELECT {_COLUMNS} FROM deliveries d LEFT JOIN jobs j ON j.id = d.job"
GET = Query("get_delivery: one", f"{_JOINED} WHERE d.id = $1")
OF_STUDY = Query(
    "deliveries_of_study: a page, newest first",
    f"{_JOINED} WHERE d.study = $3 AND d.id < $1 ORDER BY d.id DESC LIMIT $2",
)
SENT_OF_STUDY = Query(
    "sent_of_study: a row where anything of a study goes or went to a destination",
    "SELECT id FROM deliveries WHERE study = $1 AND destination = $2 LIMIT 1",
)
OF_SERIES = Query(
    "deliveries_of_series: a page of those of a study, newest first",
    f"{_JOINED} WHERE d.study = $3 AND d.series = $4 AND d.id < $1 ORDER BY d.id DESC LIMIT $2",
)
OF_INSTANCE = Query(
    "deliveries_of_instance: a page, newest first",
    f"{_JOINED} WHERE d.instance = $3 AND d.id < $1 ORDER BY d.id DESC LIMIT $2",
)
OF_OUTCOME = Query(
    "deliveries_of_outcome: a page of those to a destination with one outcome, newest first; '' for none yet",
    f"{_JOINED} WHERE d.destination = $3 AND d.outcome = $4 AND d.id < $1 ORDER BY d.id DESC LIMIT $2",
)
OF_DESTINATION = Query(
    "deliveries_of_destination: a page, newest first",
    f"{_JOINED} WHERE d.destination = $3 AND d.id < $1 ORDER BY d.id DESC LIMIT $2",
)
ALL = Query("all_deliveries: a page, newest first", f"{_JOINED} WHERE d.id < $1 ORDER BY d.id DESC LIMIT $2")
QUEUE = Query(
    "delivery_queue: those to a destination whose job is in this state, the next ones first",
    f"""
    SELECT {_COLUMNS} FROM jobs j JOIN deliveries d ON d.job = j.id
    WHERE j.state = $1 AND j.lane = $2 ORDER BY j.priority DESC, j.due_at, j.id LIMIT $3
    """,
)
LOST = Query(
    "count_lost_deliveries: those to a destination that were refused, or have failed for good",
    "SELECT outcome, COUNT(*) FROM deliveries WHERE destination = $1 AND outcome IN ('refused', 'dead')"
    " GROUP BY outcome",
)
# The expression in GROUP BY keeps SQLite off the index of destinations, with which it would read every delivery.
RATES = Query(
    "delivery_rates: what ended since $1, by destination, outcome and interval of $2 seconds: count, bytes",
    """
    SELECT destination || '', outcome, CAST(ended_at AS BIGINT) / CAST($2 AS BIGINT), COUNT(*), SUM(sent)
    FROM deliveries WHERE ended_at >= $1 GROUP BY destination || '', outcome,
        CAST(ended_at AS BIGINT) / CAST($2 AS BIGINT)
    """,
)
FORGET = Query(
    "forget_deliveries: some that were over before $1",
    """
    DELETE FROM deliveries WHERE id IN (
        SELECT id FROM deliveries WHERE ended_at > 0 AND ended_at < $1 ORDER BY ended_at LIMIT $2)
    RETURNING id
    """,
)
FORGET_VERSIONS = Query(
    "forget_versions: of some instances that were deleted before $1, and of which no delivery is on record any more",
    """
    DELETE FROM deleted_instances WHERE public_id IN (
        SELECT public_id FROM deleted_instances g WHERE at < $1
            AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.instance = g.public_id)
        ORDER BY at LIMIT $2)
    RETURNING public_id
    """,
)

# --- the instances themselves -------------------------------------------------------------------------------------

_INSTANCE = f"""SELECT {COLUMNS}, t.public_id, s.public_id, i.public_id, i.calling_aet,
    t.first_received, i.received_at, i.via, i.called_aet, i.peer, COALESCE(c.lacking, '')
    FROM instances i JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study
    LEFT JOIN incomplete c ON c.key = i.key"""
INSTANCE = Query("instance_to_deliver: where it is, by public id", f"{_INSTANCE} WHERE i.public_id = $1")
STUDY_INSTANCES = Query(
    "instances_of_study: a page, by public id of the study",
    f"{_INSTANCE} WHERE t.public_id = $1 AND i.id > $2 ORDER BY i.id LIMIT $3",
)
SERIES_INSTANCES = Query(
    "instances_of_series: a page, by public id of the series",
    f"{_INSTANCE} WHERE s.public_id = $1 AND i.id > $2 ORDER BY i.id LIMIT $3",
)

INSTANCES_SINCE = Query(
    "instances_since: a page of what has come since a moment",
    f"{_INSTANCE} WHERE i.received_at >= $1 AND i.id > $2 ORDER BY i.id LIMIT $3",
)

# --- verification -------------------------------------------------------------------------------------------------

TO_PROVE = Query(
    "deliveries_to_prove: a page of the accepted, unverified deliveries of a study to a destination",
    f"""
    {_JOINED} WHERE d.study = $1 AND d.destination = $2 AND d.outcome = 'delivered' AND d.proven_at = 0 AND d.id > $3
    ORDER BY d.id LIMIT $4
    """,
)
PROVEN = Query(
    "delivery_proven: the destination has it", "UPDATE deliveries SET proven_at = $2, proof = 0 WHERE id = $1"
)
UNPROVEN = Query(
    "delivery_unproven: the destination does not have it; returns how often in a row",
    "UPDATE deliveries SET proof = proof + 1 WHERE id = $1 RETURNING proof",
)
LACKING = Query(
    "delivery_lacking: the delivery failed for good",
    "UPDATE deliveries SET outcome = 'dead', detail = $2, ended_at = $3 WHERE id = $1",
)
FORGET_PROOFS = Query(
    "forget_proofs: every accepted delivery of a study to a destination is to be verified again",
    "UPDATE deliveries SET proven_at = 0, proof = 0 WHERE study = $1 AND destination = $2 AND outcome = 'delivered'",
)

# --- traces -------------------------------------------------------------------------------------------------------

NEWEST_INSTANCES = Query(
    "newest_received: the $1 newest instances",
    f"{_INSTANCE} WHERE i.id IN (SELECT n.id FROM instances n ORDER BY n.id DESC LIMIT $1) ORDER BY i.id DESC",
)
LIST_RULE_VERSIONS = Query(
    "list_rule_versions: the $1 newest",
    "SELECT id, content, user_name, made_at FROM rule_versions ORDER BY id DESC LIMIT $1",
)
GET_RULE_VERSION = Query("get_rule_version: one", "SELECT content FROM rule_versions WHERE id = $1")
ADD_RULE_VERSION = Query(
    "add_rule_version: the newest", "INSERT INTO rule_versions (content, user_name, made_at) VALUES ($1, $2, $3)"
)
FORGET_RULE_VERSIONS = Query(
    "forget_rule_versions: the oldest ones, so that $1 stay",
    "DELETE FROM rule_versions WHERE id <= (SELECT id FROM rule_versions ORDER BY id DESC LIMIT 1 OFFSET $1)",
)
NAMED_INSTANCES = Query(
    "named_instances: by SOP Instance UID or public id",
    f"{_INSTANCE} WHERE i.id IN (SELECT id FROM instances WHERE uid = $1 UNION SELECT id FROM instances"
    " WHERE public_id = $1) ORDER BY i.id LIMIT $2",
)
NAMED_STUDIES = Query(
    "named_studies: by accession number, by public id or UID of the study or of one of its series",
    """
    SELECT id, public_id, uid, accession_number, first_received, last_received, instance_count FROM studies
    WHERE id IN (SELECT id FROM studies WHERE uid = $1 UNION SELECT id FROM studies WHERE public_id = $1
        UNION SELECT id FROM studies WHERE accession_number = $1 AND $1 <> ''
        UNION SELECT study FROM series WHERE uid = $1 UNION SELECT study FROM series WHERE public_id = $1)
    ORDER BY id DESC LIMIT $2
    """,
)
ORIGINS = Query(
    "origins_of_study: who brought how many of its instances",
    """
    SELECT i.via, i.calling_aet, i.called_aet, i.peer, COUNT(*) FROM series s JOIN instances i ON i.series = s.id
    WHERE s.study = $1 GROUP BY i.via, i.calling_aet, i.called_aet, i.peer
    ORDER BY COUNT(*) DESC LIMIT 20
    """,
)
