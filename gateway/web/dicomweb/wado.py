"""WADO-RS, the retrieve transaction (PS3.18 §10.4), for whole instances: DICOM files, alone, in multipart or a zip.

Here live which of these an answer is, and its transfer syntax. Finding, opening and reading are in
`archive/retrieve.py`; metadata, bulk data and frames stand beside this file.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from dataclasses import dataclass

from aiohttp import hdrs, web

from gateway.archive.retrieve import EXPLICIT_VR_LITTLE_ENDIAN, Choose, Retrieval, obtainable
from gateway.errors import StorageError
from gateway.index.locate import Located
from gateway.index.selection import Selection, outline
from gateway.storage.store import StoredObject
from gateway.web.accept import MediaRange, listed, wanted
from gateway.web.conditional import entity_tag, unchanged, validators, wanted_range
from gateway.web.context import CONTEXT
from gateway.web.dicomweb.multipart import MULTIPART, Multipart
from gateway.web.dicomweb.resources import RETRIEVAL, Target, each, first_page
from gateway.web.dicomweb.zipped import ZIP, zipped
from gateway.web.errors import NotAcceptable
from gateway.web.streaming import stream

DICOM = "application/dicom"


@dataclass(frozen=True, slots=True)
class Representation:
    """One way to answer that the client takes: `transfer_syntax` is a UID, or `*` for whatever is stored."""

    media_type: str
    """MULTIPART, DICOM or ZIP."""
    transfer_syntax: str
    default: bool = False
    """The client has named no transfer syntax."""
    quality: float = 1.0

    def obtain(self, stored: str) -> str | None:
        """The transfer syntax an instance stored in `stored` would be sent in; None where it cannot be.

        What cannot be decoded comes as it is stored, where the client has not ruled it out (§8.7.3.5.1: "unless the
        origin server has only access to the pixel data in lossy compressed form").
        """
        if self.transfer_syntax == "*":
            return stored
        if obtainable(stored, self.transfer_syntax):
            return self.transfer_syntax
        return stored if self.default else None


def representations(ranges: list[MediaRange], *, single: bool) -> list[Representation]:
    """What of an Accept header can be had for instances, in the client's order.

    Without a transfer-syntax parameter it is Explicit VR Little Endian (PS3.18 §8.7.3.5.1), in a zip the stored one.
    `single`: the resource is one instance, which may come without multipart. Raises NotAcceptable when there is
    nothing.
    """
    found = []
    for media_range in ranges:
        named = media_range.parameters.get("transfer-syntax")
        syntax = named or EXPLICIT_VR_LITTLE_ENDIAN
        if media_range.covers(MULTIPART):
            if media_range.parameters.get("type", DICOM).lower() in (DICOM, "application/*", "*/*"):
                found.append(Representation(MULTIPART, syntax, not named, media_range.quality))
        elif single and media_range.covers(DICOM):
            found.append(Representation(DICOM, syntax, not named, media_range.quality))
        elif media_range.covers(ZIP):
            found.append(Representation(ZIP, named or "*", quality=media_range.quality))
    if not found:
        kinds = [f'{MULTIPART}; type="{DICOM}"; transfer-syntax=*', *[f"{DICOM}; transfer-syntax=*"] * single, ZIP]
        raise NotAcceptable(f"this resource can be had as {listed(kinds)}")
    return found


def chooser(wishes: list[Representation]) -> Choose:
    """The transfer syntax to send for a stored one. Raises NotAcceptable that says what there is."""

    def select(stored: str) -> str:
        for wish in wishes:
            uid = wish.obtain(stored)
            if uid is not None:
                return uid
        raise NotAcceptable(
            f"not available in {listed(w.transfer_syntax for w in wishes)}; "
            f"stored as {stored}, which transfer-syntax={stored} or transfer-syntax=* asks for"
        )

    return select


def agreed(wishes: list[Representation], stored: set[str]) -> list[Representation]:
    """The wishes to go by for instances stored in these transfer syntaxes: one for all of them where one serves.

    Of those that the client likes as much as its first, what need not be converted comes first. Raises NotAcceptable
    where an instance cannot be had: half a study is never sent as a whole one.
    """
    best = [wish for wish in wishes if (wish.media_type, wish.quality) == (wishes[0].media_type, wishes[0].quality)]
    for wish in sorted(best, key=lambda wish: any(wish.obtain(uid) != uid for uid in stored)) + wishes:
        if all(wish.obtain(uid) is not None for uid in stored):
            return [wish]
    wishes = [wish for wish in wishes if wish.media_type == wishes[0].media_type]
    select = chooser(wishes)
    for uid in sorted(stored):
        select(uid)
    return wishes


async def instances(request: web.Request) -> web.StreamResponse:
    """The study, series or instance of the path as DICOM files."""
    target = Target.of(request)
    retrieval = request.app[RETRIEVAL]
    wishes = representations(wanted(request), single=target.instance is not None)
    rows = await first_page(retrieval, target)
    if target.instance is None:
        parents = Selection(studies=(target.study,), series=(target.series,) if target.series else ())
        stored = {group.transfer_syntax_uid for group in await outline(request.app[CONTEXT].database, parents)}
    else:
        stored = {row.transfer_syntax_uid for row in rows}
    wishes = agreed(wishes, stored)
    select, kind = chooser(wishes), wishes[0].media_type
    if kind == DICOM:
        return await send_file(request, rows[0], select)
    located = each(retrieval, rows, target)
    if kind == ZIP:
        name = f"{target.instance or target.series or target.study}.zip"
        headers = {hdrs.CONTENT_TYPE: ZIP, hdrs.CONTENT_DISPOSITION: f'attachment; filename="{_plain(name)}"'}
        return await stream(request, web.StreamResponse(headers=headers), zipped(retrieval, located, select))
    body = Multipart(DICOM)
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: body.content_type})
    return await stream(request, response, _multipart(retrieval, located, select, body))


async def send_file(request: web.Request, located: Located, select: Choose) -> web.StreamResponse:
    """One instance as a DICOM file: as it is stored in ranges too."""
    retrieval = request.app[RETRIEVAL]
    uid = select(located.transfer_syntax_uid)
    content_type = f"{DICOM}; transfer-syntax={uid}"
    if uid != located.transfer_syntax_uid:
        content = await retrieval.open(located, select)
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: content_type, hdrs.VARY: hdrs.ACCEPT})
        response.content_length = content.length
        return await stream(request, response, content.chunks())
    tag = entity_tag("file", located.key, uid)
    if (answer := unchanged(request, tag)) is not None:
        return answer
    response = web.StreamResponse(
        headers={**validators(tag), hdrs.CONTENT_TYPE: content_type, hdrs.ACCEPT_RANGES: "bytes"}
    )
    start, stop = 0, located.size
    if (part := wanted_range(request, located.size, tag)) is not None:
        start, stop = part
        part.describe(response, located.size)
    else:
        response.content_length = located.size

    def read(stored: StoredObject, found: Located) -> Generator[bytes, None, None]:
        if found.key != located.key:  # its length, tag and transfer syntax may be others than those that we send
            raise StorageError(f"instance {located.sop_uid} has been replaced while it was being sent")
        at = start
        while at < stop:
            length = min(retrieval.memory.piece, stop - at)
            piece = stored.read(at, length)
            if len(piece) < length:
                raise StorageError(f"instance {located.sop_uid} ends before its {located.size} bytes")
            at += length
            yield piece

    return await stream(request, response, retrieval.pieces(located, read, len))


async def _multipart(
    retrieval: Retrieval, located: AsyncGenerator[Located, None], select: Choose, body: Multipart
) -> AsyncGenerator[bytes, None]:
    async with aclosing(retrieval.opened(located, select)) as contents:
        async for content in contents:
            yield body.head(f"{DICOM}; transfer-syntax={content.transfer_syntax_uid}", length=content.length)
            async with aclosing(content.chunks()) as chunks:
                async for chunk in chunks:
                    yield chunk
            yield body.END
    yield body.close()


def _plain(name: str) -> str:
    """A file name out of a client's UID that is safe in a header."""
    return "".join(c for c in name if c.isascii() and (c.isalnum() or c in "._-"))[:80]
