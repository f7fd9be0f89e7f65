"""Every statement about deliveries. What they are for is in `table.py`."""

from __future__ import annotations

from typing import Final

from gateway.database.database import Query

_OPEN: Final = "('waiting', 'running', 'held')"

ADD = Query(
    "add_delivery: of a version of an instance under a set of changes to a destination; no row where it is there",
    """
    INSERT INTO deliveries (job, study, series, instance, version, study_uid, series_uid, sop_uid, destination, changes,
        changes_version, rule, generation, created_at, ended_at, outcome, status, detail, sent, sent_study_uid,
        sent_series_uid, sent_uid, proof, proven_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '', $11, $12, $13, 0, '', -1, '', 0, '', '', '', 0, 0)
    """,
)
KNOWN = Query(
    "known_delivery: a row where there is one",
    "SELECT id FROM deliveries WHERE instance = $1 AND version = $2 AND destination = $3 AND changes = $4",
)
STUDY_BEGAN = Query(
    "study_began: when the first instance came", "SELECT first_received FROM studies WHERE public_id = $1"
)
SUPERSEDED = Query(
    "superseded_deliveries: of earlier versions of an instance, as far as they are not over",
    f"""
    SELECT d.id, d.job FROM deliveries d JOIN jobs j ON j.id = d.job
    WHERE d.instance = $1 AND d.version < $2 AND d.outcome = '' AND j.state IN {_OPEN}
    """,
)
END = Query(
    "end_delivery: how it ended, where it was not delivered",
    "UPDATE deliveries SET ended_at = $2, outcome = $3, detail = $4 WHERE job = $1",
)
ANSWERED = Query(
    "delivery_answered: what the destination said, and how much it was sent",
    "UPDATE deliveries SET status = $2, sent = sent + $3 WHERE job = $1",
)
DELIVERED = Query(
    "delivered: what the destination said and was sent, what has left, and under which version of its changes",
    """
    UPDATE deliveries SET ended_at = $2, outcome = 'delivered', status = $3, detail = $4, sent = sent + $5,
        changes_version = $6, sent_study_uid = $7, sent_series_uid = $8, sent_uid = $9, proven_at = 0
    WHERE job = $1
    """,
)
CANCEL = Query(
    "cancel_delivery: where it is not over",
    "UPDATE deliveries SET ended_at = $2, outcome = 'cancelled', detail = $3 WHERE id = $1 AND outcome = ''",
)
REOPEN = Query(
    "reopen_delivery: another job does it again",
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
OF_SERIES = Query(
    "deliveries_of_series: a page of those of a study, newest first",
    f"{_JOINED} WHERE d.study = $3 AND d.series = $4 AND d.id < $1 ORDER BY d.id DESC LIMIT $2",
)
OF_INSTANCE = Query(
    "deliveries_of_instance: a page, newest first",
    f"{_JOINED} WHERE d.instance = $3 AND d.id < $1 ORDER BY d.id DESC LIMIT $2",
)
OF_OUTCOME = Query(
    "deliveries_of_outcome: a page of those to a destination that ended so, newest first; not yet where it is ''",
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
    "count_lost_deliveries: those to a destination that it refused, or that have failed for good",
    "SELECT outcome, COUNT(*) FROM deliveries WHERE destination = $1 AND outcome IN ('refused', 'dead')"
    " GROUP BY outcome",
)
# Grouped by an expression, or SQLite goes through the index of destinations, and with it through all there ever was.
RATES = Query(
    "delivery_rates: what ended since $1, by destination, outcome and stretch of $2 seconds: how many, how many bytes",
    """
    SELECT destination, outcome, CAST(ended_at / $2 AS BIGINT), COUNT(*), SUM(sent) FROM deliveries
    WHERE ended_at >= $1 GROUP BY destination || '', outcome, CAST(ended_at / $2 AS BIGINT)
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

# --- the instances themselves -------------------------------------------------------------------------------------

_INSTANCE = """SELECT i.id, t.uid, s.uid, i.uid, i.sop_class_uid, i.transfer_syntax_uid, i.key, i.size,
    i.data_set_offset, i.version, s.number, s.id, i.number, t.public_id, s.public_id, i.public_id, i.calling_aet,
    t.first_received, i.received_at, i.via, i.called_aet, i.peer
    FROM instances i JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study"""
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

# --- proof --------------------------------------------------------------------------------------------------------

TO_PROVE = Query(
    "deliveries_to_prove: a page of what of a study a destination has taken and has not been asked about since",
    f"""
    {_JOINED} WHERE d.study = $1 AND d.destination = $2 AND d.outcome = 'delivered' AND d.proven_at = 0 AND d.id > $3
    ORDER BY d.id LIMIT $4
    """,
)
PROVEN = Query(
    "delivery_proven: the destination has it", "UPDATE deliveries SET proven_at = $2, proof = 0 WHERE id = $1"
)
UNPROVEN = Query(
    "delivery_unproven: the destination has it not; how often in a row by now",
    "UPDATE deliveries SET proof = proof + 1 WHERE id = $1 RETURNING proof",
)
LACKING = Query(
    "delivery_lacking: it is sent again no more",
    "UPDATE deliveries SET outcome = 'dead', detail = $2, ended_at = $3 WHERE id = $1",
)
FORGET_PROOFS = Query(
    "forget_proofs: what a destination has taken of a study is to be asked about again",
    "UPDATE deliveries SET proven_at = 0, proof = 0 WHERE study = $1 AND destination = $2 AND outcome = 'delivered'",
)

# --- stories ------------------------------------------------------------------------------------------------------

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
