"""/tenants: who shares the archive, what each has of it, and what each may have. For whoever runs the gateway."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway.config import Tenant
from gateway.errors import NotFound
from gateway.index.tenants import holding_of
from gateway.web.context import CONTEXT
from gateway.web.rest.answers import flag, json_answer
from gateway.web.route import EXPAND, Route


async def tenants(request: web.Request) -> web.Response:
    """The names of all tenants, or with `expand` what each has and may have."""
    found = request.app[CONTEXT].settings().tenants
    if not flag(request, "expand"):
        return json_answer(sorted(found))
    return json_answer([await _fields(request, name, found[name]) for name in sorted(found)])


async def tenant(request: web.Request) -> web.Response:
    """One tenant: what it has of the archive, and what it may have."""
    name = request.match_info["name"]
    known = request.app[CONTEXT].settings().tenants.get(name)
    if known is None:
        raise NotFound(f"there is no tenant {name[:80]}")
    return json_answer(await _fields(request, name, known))


async def _fields(request: web.Request, name: str, tenant: Tenant) -> dict[str, Any]:
    holding = await holding_of(request.app[CONTEXT].database, name)
    return {
        "CountInstances": holding.instances,
        "CountStudies": holding.studies,
        "DiskSize": holding.size,
        "ID": name,
        "KeepDays": tenant.keep_days,
        "MaxInstances": tenant.max_instances,
        "MaxRate": tenant.max_rate,
        "MaxSize": tenant.max_size,
    }


ROUTES = (
    Route("GET", "/tenants", tenants, "settings", (EXPAND,)),
    Route("GET", "/tenants/{name}", tenant, "settings", errors=(404,)),
)
