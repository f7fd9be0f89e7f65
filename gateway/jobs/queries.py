"""Every statement on jobs. Their meaning is in `table.py`; a queue is the column `lane`, a table of queues `lanes`."""

from __future__ import annotations

from gateway.database.database import Query

_COLUMNS = """id, kind, state, lane, chain, priority, payload, attempts, created_at, due_at, lease_until, owner,
    finished_at, error, requester, requester_token, requester_origin, seen"""

ADD = Query(
    "add_job: one new job, waiting",
    """
    INSERT INTO jobs (kind, state, lane, chain, priority, payload, attempts, created_at, due_at, scheduled_at,
        lease_until, owner, finished_at, error, requester, requester_token, requester_origin, seen)
    VALUES ($1, 'waiting', $2, $3, $4, $5, 0, $6, $7, $6, 0, '', 0, '', $8, $9, $10, $11) RETURNING id
    """,
)
NEXT = Query(
    "next_job: the time at which the next waiting job is due or a lease expires",
    """
    SELECT MIN(at) FROM (
        SELECT MIN(due_at) AS at FROM jobs WHERE state = 'waiting'
        UNION ALL SELECT MIN(lease_until) AS at FROM jobs WHERE state = 'running'
    ) AS moments
    """,
)
EXPIRE = Query(
    "expire_jobs: running jobs whose lease has expired wait again, except those of $2, the living caller",
    """
    UPDATE jobs SET state = 'waiting', owner = '', due_at = $1, scheduled_at = $1,
        error = 'the process that worked on it has ended'
    WHERE state = 'running' AND lease_until <= $1 AND owner <> $2
    """,
)
PULL_IN = Query(
    "pull_in_jobs: jobs scheduled by a clock that was ahead of $1 wait as long from $1 on as they were to wait then",
    """
    UPDATE jobs SET due_at = $1 + CASE WHEN due_at > scheduled_at THEN due_at - scheduled_at ELSE 0 END,
        scheduled_at = $1
    WHERE state = 'waiting' AND due_at > $1 AND scheduled_at > $1 RETURNING id
    """,
)
QUEUES = Query(
    "job_queues: every queue in which a job waits and that is open at $1, or paused for longer than until $2, by"
    " skipping through the index; the number of its running jobs, and how often in a row it has failed",
    """
    WITH RECURSIVE waiting (lane) AS (
        SELECT MIN(lane) FROM jobs WHERE state = 'waiting'
        UNION ALL
        SELECT (SELECT MIN(j.lane) FROM jobs j WHERE j.state = 'waiting' AND j.lane > waiting.lane)
        FROM waiting WHERE waiting.lane IS NOT NULL
    )
    SELECT w.lane, (SELECT COUNT(*) FROM jobs r WHERE r.state = 'running' AND r.lane = w.lane), COALESCE(l.failures, 0)
    FROM waiting w LEFT JOIN lanes l ON l.lane = w.lane
    WHERE w.lane IS NOT NULL AND COALESCE(l.held, 0) = 0
        AND (COALESCE(l.paused_until, 0) <= $1 OR l.paused_until > $2)
    """,
)
PRIORITIES = Query(
    "job_priorities: the priorities of waiting jobs in a queue, the highest first, by skipping through the index",
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
# One priority at a time, so that the index on lane, priority and due_at ends the search at jobs that are not due yet:
# otherwise, with many jobs that wait for their next attempt, all of them would be skipped for the few that are claimed.
CLAIM = Query(
    "claim_jobs: claims due jobs of a queue with a priority, unless an earlier job of the same chain is unfinished",
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
    "extend_leases: of all running jobs of an owner; a job that is not returned has been taken from the owner",
    "UPDATE jobs SET lease_until = $2 WHERE owner = $1 AND state = 'running' RETURNING id",
)
FINISH = Query(
    "finish_job: for good, if the owner still has it",
    """
    UPDATE jobs SET state = $3, finished_at = $4, error = $5, owner = '', lease_until = 0
    WHERE id = $1 AND owner = $2 AND state = 'running' RETURNING id
    """,
)
POSTPONE = Query(
    "postpone_job: it waits from $7 until $3, with $4 attempts, if the owner still has it; a job that was due at $6"
    " and has been expedited since it was claimed does not wait",
    """
    UPDATE jobs SET state = 'waiting', due_at = CASE WHEN due_at = $6 THEN $3 ELSE due_at END,
        scheduled_at = CASE WHEN due_at = $6 AND $3 <> $6 THEN $7 ELSE scheduled_at END,
        attempts = $4, error = $5, owner = '', lease_until = 0
    WHERE id = $1 AND owner = $2 AND state = 'running' RETURNING id
    """,
)
GIVE_BACK = Query(
    "give_back_jobs: all running jobs of an owner, as if they had not begun",
    """
    UPDATE jobs SET state = 'waiting', due_at = $2, scheduled_at = $2, attempts = attempts - 1, owner = '',
        lease_until = 0
    WHERE owner = $1 AND state = 'running'
    """,
)
ABANDON = Query(
    "abandon_jobs: the running jobs of a dead owner wait again",
    """
    UPDATE jobs SET state = 'waiting', owner = '', lease_until = 0, error = 'the process that worked on it has ended'
    WHERE owner = $1 AND state = 'running' RETURNING id
    """,
)
CANCEL = Query(
    "cancel_job: one unfinished job",
    """
    UPDATE jobs SET state = 'cancelled', finished_at = $2, owner = '', lease_until = 0
    WHERE id = $1 AND state IN ('waiting', 'running', 'held') RETURNING id
    """,
)
HOLD = Query(
    "hold_job: one unfinished job, until it is released",
    """
    UPDATE jobs SET state = 'held', owner = '', lease_until = 0, error = CASE WHEN $2 = '' THEN error ELSE $2 END
    WHERE id = $1 AND state IN ('waiting', 'running') RETURNING id
    """,
)
RELEASE = Query(
    "release_job: a held, failed, cancelled or waiting job becomes due, with all its attempts",
    """
    UPDATE jobs SET state = 'waiting', due_at = $2, scheduled_at = $2, attempts = 0, finished_at = 0
    WHERE id = $1 AND state IN ('held', 'failed', 'cancelled', 'waiting') RETURNING id
    """,
)
EXPEDITE = Query(
    "expedite_jobs: waiting jobs of a chain become due; a running one runs again if it is postponed",
    "UPDATE jobs SET due_at = $2, scheduled_at = $2 WHERE chain = $1 AND state IN ('waiting', 'running')",
)
MOVE = Query(
    "move_job: the waiting job of a chain becomes due at $2, as it is said at $3",
    "UPDATE jobs SET due_at = $2, scheduled_at = $3 WHERE chain = $1 AND state = 'waiting' RETURNING id",
)
_WITH_PROGRESS = f"""SELECT {_COLUMNS}, percent, position, content, error_payload
    FROM jobs LEFT JOIN job_progress ON job = id"""
GET = Query("get_job: one, with its progress", f"{_WITH_PROGRESS} WHERE id = $1")
LIST = Query(
    "list_jobs: a page, newest first, with their progress", f"{_WITH_PROGRESS} WHERE id < $1 ORDER BY id DESC LIMIT $2"
)
LIST_REPORTING = Query(
    "list_reporting_jobs: a page of those that say how far they are, newest first, of one state or ('') of all",
    f"""
    SELECT {_COLUMNS}, percent, position, content, error_payload FROM job_progress JOIN jobs ON id = job
    WHERE job < $1 AND ($3 = '' OR state = $3) ORDER BY job DESC LIMIT $2
    """,
)
CHAIN = Query("chained_jobs: those of a chain, in order", f"SELECT {_COLUMNS} FROM jobs WHERE chain = $1 ORDER BY id")
FORGET = Query(
    "forget_jobs: some jobs that were finished before $1",
    """
    DELETE FROM jobs WHERE id IN (
        SELECT id FROM jobs WHERE finished_at > 0 AND finished_at < $1 ORDER BY finished_at LIMIT $2)
    RETURNING id
    """,
)
REPORT_PROGRESS = Query(
    "report_progress: how far a job is",
    """
    INSERT INTO job_progress (job, percent, position, content, error_payload) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (job) DO UPDATE SET percent = $2, position = $3, content = $4, error_payload = $5
    """,
)
RESTART_PROGRESS = Query(
    "restart_progress: nothing of a job is done; how far it had come stands below zero",
    "UPDATE job_progress SET percent = 0, position = -ABS(position), error_payload = 'null' WHERE job = $1",
)
FORGET_PROGRESS = Query("forget_progress: of a job", "DELETE FROM job_progress WHERE job = $1")
FORGET_LOST_PROGRESS = Query(
    "forget_lost_progress: of jobs that are gone", "DELETE FROM job_progress WHERE job NOT IN (SELECT id FROM jobs)"
)
GET_PROGRESS = Query(
    "get_progress: of a job", "SELECT percent, position, content, error_payload FROM job_progress WHERE job = $1"
)
REMOVE = Query("remove_job: one that is over", "DELETE FROM jobs WHERE id = $1 AND finished_at > 0 RETURNING id")
GET_QUEUE = Query(
    "get_queue: whether it is held or paused",
    "SELECT lane, held, paused_until, failures, reason FROM lanes WHERE lane = $1",
)
PAUSE_QUEUE = Query(
    "pause_queue: no job of it is claimed until $2; failed $3 times in a row",
    """
    INSERT INTO lanes (lane, held, paused_until, failures, reason) VALUES ($1, 0, $2, $3, $4)
    ON CONFLICT (lane) DO UPDATE SET paused_until = $2, failures = $3, reason = $4
    """,
)
RESUME_QUEUE = Query(
    "resume_queue: its jobs work again",
    "UPDATE lanes SET paused_until = 0, failures = 0, reason = '' WHERE lane = $1 AND failures > 0",
)
HOLD_QUEUE = Query(
    "hold_queue: no job of it is claimed until it is released",
    "INSERT INTO lanes (lane, held, paused_until, failures, reason) VALUES ($1, 1, 0, 0, '')"
    " ON CONFLICT (lane) DO UPDATE SET held = 1",
)
RELEASE_QUEUE = Query(
    "release_queue: it is neither held nor paused",
    "UPDATE lanes SET held = 0, paused_until = 0, reason = '' WHERE lane = $1",
)
LIST_QUEUES = Query(
    "list_queues: the queues that were ever held or paused",
    "SELECT lane, held, paused_until, failures, reason FROM lanes ORDER BY lane",
)
OLDEST = Query(
    "oldest_jobs: when the oldest waiting or running job was added, for queues from $1 to before $2",
    """
    SELECT first.lane, j.created_at FROM (
        SELECT lane, MIN(id) AS id FROM jobs WHERE state IN ('waiting', 'running') AND lane >= $1 AND lane < $2
        GROUP BY lane) first
    JOIN jobs j ON j.id = first.id
    """,
)
COUNT_STATES = Query("count_states: jobs by state", "SELECT state, COUNT(*) FROM jobs GROUP BY state")
COUNT_QUEUES = Query(
    "count_queues: unfinished jobs by queue and state, for queues from $1 to before $2",
    """
    SELECT lane, state, COUNT(*) FROM jobs WHERE state IN ('waiting', 'running', 'held') AND lane >= $1 AND lane < $2
    GROUP BY state, lane
    """,
)
