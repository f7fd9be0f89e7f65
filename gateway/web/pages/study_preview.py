"""What an anonymization would change in a study, for its form to show: nothing is made, and nothing stored."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import closing
from typing import Final

from aiohttp import web

from gateway.edit.change_set import Received
from gateway.errors import DataSetError, EditError, UnknownResource
from gateway.index.locate import identified
from gateway.web.accept import JSON
from gateway.web.context import CONTEXT
from gateway.web.dicomweb.resources import RETRIEVAL
from gateway.web.errors import error_answer
from gateway.web.inputs import read_object
from gateway.web.rest.anonymize import anonymizing_request
from gateway.web.rest.answers import json_answer
from gateway.web.rest.changing import CHANGE_SCHEMA, MODIFICATION_JOBS, read_change
from gateway.web.route import Route

_MAX_CHANGES: Final = 500
"""Changes that are shown."""


async def preview(request: web.Request) -> web.Response:
    """The changes that an anonymization of a study would make to its first instance: each attribute, and its value
    before and after. The body is that of the anonymization."""
    wanted = anonymizing_request(read_change(await read_object(request)))
    async for page in identified(request.app[CONTEXT].database, "study", request.match_info["id"], 1):
        (identity, located), retrieval = page[0], request.app[RETRIEVAL]
        changes = await request.app[MODIFICATION_JOBS].of_instance(wanted, identity.instance)
        try:
            with closing(await retrieval.edit(located, changes, Received("", 0.0))) as changed:
                found = await asyncio.to_thread(lambda: changed.edited.changes)
        except (EditError, DataSetError) as error:
            return error_answer(request, 400, str(error))
        # What is anonymized first and then replaced is changed twice: it is shown once.
        after = {each.path: each.after for each in found}
        before = {each.path: each.before for each in reversed(found)}
        shown = itertools.islice(after, _MAX_CHANGES)
        return json_answer([{"Path": path, "Before": before[path], "After": after[path]} for path in shown])
    raise UnknownResource(f"there is no study {request.match_info['id'][:64]}")


ROUTES = (
    Route(
        *("POST", "/ui/studies/{id}/anonymization", preview, "anonymize"),
        takes=CHANGE_SCHEMA,
        body=(JSON,),
        errors=(404,),
        name="study-anonymization",
        action="view",
    ),
)
