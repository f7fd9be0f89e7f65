"""The statement that shows whether the clock of a sender runs ahead."""

from __future__ import annotations

from gateway.database.database import Query

NEWEST_OF_SENDER = Query(
    "newest_of_sender: date, time and arrival of the newest studies that a calling AE title brought",
    """
    SELECT t.date, t.time, t.first_received FROM
        (SELECT id, date, time, first_received FROM studies ORDER BY last_received DESC, id DESC LIMIT $2) t
    WHERE EXISTS (SELECT 1 FROM series s JOIN instances i ON i.series = s.id
        WHERE s.study = t.id AND i.calling_aet = $1)
    """,
)
