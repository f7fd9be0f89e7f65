"""Resources as encoded JSON, made when first requested and cached until they change.

Only in the form that is requested most: the main attributes, by name. A cached resource costs a look into a table while
nothing is committed, and after a commit a row with its stamp: a tenth to a twentieth of what making it costs.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from typing import Final

from aiohttp import web

from gateway.dicom.levels import Level
from gateway.index.resources import Resource, page_size, resource, resources_by_row, stamp, stamps
from gateway.index.stability import STABLE_AFTER_S
from gateway.retrieve.find import Found
from gateway.web.context import CONTEXT
from gateway.web.rest.answer_cache import ANSWERS, AnswerCache, CachedAnswer
from gateway.web.rest.answers import members_text
from gateway.web.rest.resource_json import resource_json

_INDENT: Final = b"\n   "


async def resource_text(request: web.Request, level: Level, public_id: str) -> bytes | None:
    """One resource as the text of an answer; None where there is none."""
    answers, database = request.app[ANSWERS], request.app[CONTEXT].database
    version, key = answers.version(), (level, public_id)
    (text,) = answers.answers([key], version)
    if text is None and key in answers:
        text = answers.renewed(key, await stamp(database, level, public_id), version)
    if text is None:
        found = await resource(database, level, public_id)
        if found is None:
            return None
        text = _keep(answers, found, version)
    # A line break inside a value is escaped: each of those here begins a line of a list's member.
    return text.replace(_INDENT, b"\n")[1:] + b"\n"


async def resource_texts(
    request: web.Request, level: Level, pages: AsyncIterator[Sequence[Found]]
) -> AsyncIterator[bytes]:
    """Resources as members of a JSON list, page by page, in the order of `pages`. Those that have gone are left out."""
    async for page in pages:
        size = page_size(level)
        for at in range(0, len(page), size):
            if text := await _page_text(request, level, page[at : at + size]):
                yield text


async def _page_text(request: web.Request, level: Level, page: Sequence[Found]) -> bytes:
    answers, database = request.app[ANSWERS], request.app[CONTEXT].database
    version, keys = answers.version(), [(level, public_id) for _row, public_id in page]
    texts = answers.answers(keys, version)
    if None in texts:
        rows = {key: row for key, (row, _), text in zip(keys, page, texts, strict=True) if text is None}
        known = {key: row for key, row in rows.items() if key in answers}
        stamped = await stamps(database, level, list(known.values()))
        made = {row: answers.renewed(key, stamped.get(row), version) for key, row in known.items()}
        missing = [row for row in rows.values() if made.get(row) is None]
        made |= {each.row: _keep(answers, each, version) for each in await resources_by_row(database, level, missing)}
        texts = [made.get(row) if text is None else text for (row, _), text in zip(page, texts, strict=True)]
    return b",".join([text for text in texts if text is not None])


def _keep(answers: AnswerCache, found: Resource, version: int) -> bytes:
    made = resource_json(found)
    text = members_text([made])
    until = math.inf if made.get("IsStable", True) else found.last_received + STABLE_AFTER_S
    # The stamp is as old as the version or newer, and no newer than what was made.
    answers.put((found.level, found.public_id), CachedAnswer(text, version, until, found.stamp))
    return text
