"""Which jobs a request may cancel, pause, run again and delete: its user's own, and with more permissions others."""

from __future__ import annotations

from aiohttp import web

from gateway.access.principals import ANYBODY
from gateway.forwarding.table import KIND as DELIVERY
from gateway.jobs.table import Job
from gateway.systems.alarms import LASTING
from gateway.web.authorization import PRINCIPAL
from gateway.web.sessions import Forbidden


def check_acts_on(request: web.Request, job: Job) -> None:
    """Check that the user of a request may act on a job: who merely sees it may not. Raises: Forbidden."""
    who = request.get(PRINCIPAL, ANYBODY)
    if job.kind in LASTING:
        raise Forbidden("the alarm about emergency access is raised, whoever would rather have it stopped")
    if job.requester and job.requester == who.name and who.api_token in ("", job.requester_token):
        return
    needed = "route" if job.kind == DELIVERY else "settings"
    if not who.granting((needed,)):
        raise Forbidden(f"job {job.id} is not of user {who.name}, who has no role with the permission {needed}")
