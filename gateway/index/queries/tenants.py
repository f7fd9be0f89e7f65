"""What tenants have, and their old studies. The second condition on `tenant` is for the index of tenants' studies."""

from __future__ import annotations

from gateway.database.database import Query

HOLDING = Query(
    "holding: studies, instances and bytes of a tenant",
    """
    SELECT COUNT(*), COALESCE(SUM(instance_count), 0), COALESCE(SUM(size), 0) FROM studies
    WHERE tenant = $1 AND tenant <> ''
    """,
)
OLD_STUDIES = Query(
    "old_studies: a tenant's studies to which nothing has come since $2, oldest first; not of protected patients",
    """
    SELECT t.public_id FROM studies t JOIN patients p ON p.id = t.patient
    WHERE t.tenant = $1 AND t.tenant <> '' AND t.last_received < $2
        AND NOT EXISTS (SELECT 1 FROM protected_patients x WHERE x.public_id = p.public_id)
    ORDER BY t.last_received, t.id LIMIT $3 OFFSET $4
    """,
)
