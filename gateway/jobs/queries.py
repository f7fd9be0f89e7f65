"""Every statement about jobs. What they are for is in `table.py`."""

from __future__ import annotations

from gateway.database.database import Query

_COLUMNS = """id, kind, state, lane, chain, priority, payload, attempts, created_at, due_at, lease_until, owner,
    finished_at, error"""

ADD = Query(
    "add_job: one more piece of work, waiting",
    """
    INSERT INTO jobs (kind, state, lane, chain, priority, payload, attempts, created_at, due_at, lease_until, owner,
        finished_at, error)
    VALUES ($1, 'waiting', $2, $3, $4, $5, 0, $6, $7, 0, '', 0, '') RETURNING id
    """,
)
NEXT = Query(
    "next_job: when something is to be done next: the earliest that waits, or a lease that runs out",
    """
    SELECT MIN(at) FROM (
        SELECT MIN(due_at) AS at FROM jobs WHERE state = 'waiting'
        UNION ALL SELECT MIN(lease_until) AS at FROM jobs WHERE state = 'running'
    ) AS moments
    """,
)
EXPIRE = Query(
    "expire_jobs: those whose lease has run out wait again",
    """
    UPDATE jobs SET state = 'waiting', owner = '', due_at = $1, error = 'whoever worked on it has gone'
    WHERE state = 'running' AND lease_until <= $1
    """,
)
LANES = Query(
    "job_lanes: every lane in which a job waits and that is open now, by skipping through the index; how many of it"
    " run, and how often in a row it has been found closed",
    """
    WITH RECURSIVE waiting (lane) AS (
        SELECT MIN(lane) FROM jobs WHERE state = 'waiting'
        UNION ALL
        SELECT (SELECT MIN(j.lane) FROM jobs j WHERE j.state = 'waiting' AND j.lane > waiting.lane)
        FROM waiting WHERE waiting.lane IS NOT NULL
    )
    SELECT w.lane, (SELECT COUNT(*) FROM jobs r WHERE r.state = 'running' AND r.lane = w.lane), COALESCE(l.failures, 0)
    FROM waiting w LEFT JOIN lanes l ON l.lane = w.lane
    WHERE w.lane IS NOT NULL AND COALESCE(l.held, 0) = 0 AND COALESCE(l.paused_until, 0) <= $1
    """,
)
PRIORITIES = Query(
    "job_priorities: those that wait in a lane, the highest first, by skipping through the index",
    """
    WITH RECURSIVE waiting (priority) AS (
        SELECT MAX(priority) FROM jobs WHERE state = 'waiting' AND lane = $1
        UNION ALL
        SELECT (SELECT MAX(j.priority) FROM jobs j
            WHERE j.state = 'waiting' AND j.lane = $1 AND j.priority < waiting.priority)
        FROM waiting WHERE waiting.priority IS NOT NULL
    )
    SELECT priority FROM waiting WHERE priority IS NOT NULL
    """,
)
# One priority at a time, so that the index on lane, priority and due_at ends the look at what is not due yet: with
# many that wait for their next attempt all of them would be passed over for the few that are taken.
CLAIM = Query(
    "claim_jobs: takes what is due in a lane with a priority, unless something before it in its chain is not over",
    f"""
    UPDATE jobs SET state = 'running', owner = $5, lease_until = $6, attempts = attempts + 1
    WHERE id IN (
        SELECT j.id FROM jobs j WHERE j.state = 'waiting' AND j.lane = $1 AND j.priority = $2 AND j.due_at <= $3
            AND (j.chain = '' OR NOT EXISTS (
                SELECT 1 FROM jobs e
                WHERE e.chain = j.chain AND e.id < j.id AND e.state IN ('waiting', 'running', 'held')))
        ORDER BY j.due_at, j.id LIMIT $4)
    RETURNING {_COLUMNS}
    """,
)
EXTEND = Query(
    "extend_leases: of all that an owner works on; those that are not returned were taken from it",
    "UPDATE jobs SET lease_until = $2 WHERE owner = $1 AND state = 'running' RETURNING id",
)
FINISH = Query(
    "finish_job: for good, where the owner still has it",
    """
    UPDATE jobs SET state = $3, finished_at = $4, error = $5, owner = '', lease_until = 0
    WHERE id = $1 AND owner = $2 AND state = 'running' RETURNING id
    """,
)
POSTPONE = Query(
    "postpone_job: it waits until $3, having had $4 attempts, where the owner still has it; not longer where it was"
    " hurried since it was claimed, due at $6",
    """
    UPDATE jobs SET state = 'waiting', due_at = CASE WHEN due_at = $6 THEN $3 ELSE due_at END,
        attempts = $4, error = $5, owner = '', lease_until = 0
    WHERE id = $1 AND owner = $2 AND state = 'running' RETURNING id
    """,
)
GIVE_BACK = Query(
    "give_back_jobs: all that an owner works on, as if it had not begun",
    """
    UPDATE jobs SET state = 'waiting', due_at = $2, attempts = attempts - 1, owner = '', lease_until = 0
    WHERE owner = $1 AND state = 'running'
    """,
)
ABANDON = Query(
    "abandon_jobs: those of an owner that has gone wait again",
    """
    UPDATE jobs SET state = 'waiting', owner = '', lease_until = 0, error = 'whoever worked on it has gone'
    WHERE owner = $1 AND state = 'running' RETURNING id
    """,
)
CANCEL = Query(
    "cancel_job: one that is not over",
    """
    UPDATE jobs SET state = 'cancelled', finished_at = $2, owner = '', lease_until = 0
    WHERE id = $1 AND state IN ('waiting', 'running', 'held') RETURNING id
    """,
)
HOLD = Query(
    "hold_job: one that is not over, until it is released",
    """
    UPDATE jobs SET state = 'held', owner = '', lease_until = 0
    WHERE id = $1 AND state IN ('waiting', 'running') RETURNING id
    """,
)
RELEASE = Query(
    "release_job: one that is held, has failed or was cancelled, with all its attempts before it; one that waits, now",
    """
    UPDATE jobs SET state = 'waiting', due_at = $2, attempts = 0, finished_at = 0
    WHERE id = $1 AND state IN ('held', 'failed', 'cancelled', 'waiting') RETURNING id
    """,
)
SETTLE = Query(
    "settle_job: done by somebody without a lease, where it is not over",
    """
    UPDATE jobs SET state = 'done', finished_at = $2, error = '', owner = '', lease_until = 0
    WHERE id = $1 AND state IN ('waiting', 'running', 'held') RETURNING id
    """,
)
HURRY = Query(
    "hurry_jobs: those of a chain are due now; one that runs, once more if it is postponed",
    "UPDATE jobs SET due_at = $2 WHERE chain = $1 AND state IN ('waiting', 'running')",
)
MOVE = Query(
    "move_job: what waits in a chain becomes due at $2",
    "UPDATE jobs SET due_at = $2 WHERE chain = $1 AND state = 'waiting' RETURNING id",
)
GET = Query("get_job: one", f"SELECT {_COLUMNS} FROM jobs WHERE id = $1")
LIST = Query("list_jobs: a page, newest first", f"SELECT {_COLUMNS} FROM jobs WHERE id < $1 ORDER BY id DESC LIMIT $2")
CHAIN = Query("chained_jobs: those of a chain, in order", f"SELECT {_COLUMNS} FROM jobs WHERE chain = $1 ORDER BY id")
FORGET = Query(
    "forget_jobs: some that were over before $1",
    """
    DELETE FROM jobs WHERE id IN (
        SELECT id FROM jobs WHERE finished_at > 0 AND finished_at < $1 ORDER BY finished_at LIMIT $2)
    RETURNING id
    """,
)
GET_LANE = Query(
    "get_lane: whether it is held or paused",
    "SELECT lane, held, paused_until, failures, reason FROM lanes WHERE lane = $1",
)
CLOSE_LANE = Query(
    "close_lane: nothing of it is claimed until $2; found closed $3 times in a row",
    """
    INSERT INTO lanes (lane, held, paused_until, failures, reason) VALUES ($1, 0, $2, $3, $4)
    ON CONFLICT (lane) DO UPDATE SET paused_until = $2, failures = $3, reason = $4
    """,
)
OPEN_LANE = Query(
    "open_lane: it works again",
    "UPDATE lanes SET paused_until = 0, failures = 0, reason = '' WHERE lane = $1 AND failures > 0",
)
HOLD_LANE = Query(
    "hold_lane: nothing of it is claimed until it is released",
    "INSERT INTO lanes (lane, held, paused_until, failures, reason) VALUES ($1, 1, 0, 0, '')"
    " ON CONFLICT (lane) DO UPDATE SET held = 1",
)
RELEASE_LANE = Query(
    "release_lane: it is neither held nor paused",
    "UPDATE lanes SET held = 0, paused_until = 0, reason = '' WHERE lane = $1",
)
LIST_LANES = Query(
    "list_lanes: those that were ever held or paused",
    "SELECT lane, held, paused_until, failures, reason FROM lanes ORDER BY lane",
)
COUNT_LANES = Query(
    "count_lanes: the jobs that are not over by lane and state, for lanes from $1 to before $2",
    """
    SELECT lane, state, COUNT(*) FROM jobs WHERE state IN ('waiting', 'running', 'held') AND lane >= $1 AND lane < $2
    GROUP BY state, lane
    """,
)
