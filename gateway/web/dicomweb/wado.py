"""WADO-RS, the retrieve transaction (PS3.18 §10.4), for whole instances: DICOM files, alone, in multipart or a zip.

The choice of one of these, and of the transfer syntax, are here. `retrieve/retrieval.py` finds, opens and reads;
metadata, bulk data and frames are in the files beside this one.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from aiohttp import hdrs, web

from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from gateway.errors import DataSetError
from gateway.http.multipart_writer import MULTIPART, Multipart
from gateway.index.locate import Located
from gateway.index.selection import outline
from gateway.retrieve.opened import Content
from gateway.retrieve.retrieval import Choose, MayComeAsStored, Retrieval, obtainable
from gateway.retrieve.zip_stream import ZIP, ZipEntry, zip_stream
from gateway.web.accept import MediaRange, listed, wanted
from gateway.web.conditional import entity_tag, sent_span, unchanged, validators
from gateway.web.context import CONTEXT
from gateway.web.dicomweb.resources import RETRIEVAL, Target, each, first_page
from gateway.web.errors import NotAcceptable
from gateway.web.route import ACCEPT, INSTANCE, SERIES, STUDY, Route
from gateway.web.security import ATTACHMENT
from gateway.web.streaming import stream

log = logging.getLogger(__name__)

DICOM = "application/dicom"


@dataclass(frozen=True, slots=True)
class Representation:
    """One acceptable form of the answer: `transfer_syntax` is a UID, or `*` for the stored one."""

    media_type: str
    """MULTIPART, DICOM or ZIP."""
    transfer_syntax: str
    default: bool = False
    """Whether the client named no transfer syntax."""
    quality: float = 1.0

    def obtain(self, stored: str) -> str | None:
        """The transfer syntax for sending an instance stored in `stored`; None if it cannot be sent.

        An instance that cannot be decoded is sent as stored, unless the client excluded that (§8.7.3.5.1: "unless the
        origin server has only access to the pixel data in lossy compressed form").
        """
        if self.transfer_syntax == "*":
            return stored
        if obtainable(stored, self.transfer_syntax):
            return self.transfer_syntax
        return stored if self.default else None


def representations(ranges: list[MediaRange], *, single: bool) -> list[Representation]:
    """The available forms of instances for an Accept header, in the client's order of preference.

    Without a transfer-syntax parameter it is Explicit VR Little Endian (PS3.18 §8.7.3.5.1), in a zip the stored one.
    `single`: the resource is one instance, which may be sent without multipart. Raises NotAcceptable when there is
    none.
    """
    found = []
    for media_range in ranges:
        named = media_range.parameters.get("transfer-syntax")
        syntax = named or EXPLICIT_VR_LITTLE_ENDIAN.uid
        if media_range.covers(MULTIPART):
            if media_range.parameters.get("type", DICOM).lower() in (DICOM, "application/*", "*/*"):
                found.append(Representation(MULTIPART, syntax, not named, media_range.quality))
        elif single and media_range.covers(DICOM):
            found.append(Representation(DICOM, syntax, not named, media_range.quality))
        elif media_range.covers(ZIP):
            found.append(Representation(ZIP, named or "*", quality=media_range.quality))
    if not found:
        kinds = [f'{MULTIPART}; type="{DICOM}"; transfer-syntax=*', *[f"{DICOM}; transfer-syntax=*"] * single, ZIP]
        raise NotAcceptable(f"this resource is available as {listed(kinds)}")
    return found


def chooser(options: list[Representation]) -> Choose:
    """A chooser of the transfer syntax to send. Raises NotAcceptable, which lists the alternatives."""

    def select(stored: str) -> str:
        for option in options:
            uid = option.obtain(stored)
            if uid is not None:
                return uid
        raise NotAcceptable(
            f"not available in {listed(w.transfer_syntax for w in options)}; "
            f"stored as {stored}: use transfer-syntax={stored} or transfer-syntax=*"
        )

    return select


def may_come_as_stored(options: list[Representation]) -> MayComeAsStored:
    """Whether any of the options accepts an instance as stored, should its pixels turn out to be broken."""
    return lambda stored: any(option.default or option.transfer_syntax in ("*", stored) for option in options)


def agreed(options: list[Representation], stored: set[str]) -> list[Representation]:
    """The options for instances stored in these transfer syntaxes: a single one, if one serves them all.

    Of the options that the client prefers equally, one without transcoding comes first. Raises NotAcceptable when an
    instance cannot be sent: half a study is never sent as a whole one.
    """
    best = [
        option
        for option in options
        if (option.media_type, option.quality) == (options[0].media_type, options[0].quality)
    ]
    for option in sorted(best, key=lambda option: any(option.obtain(uid) != uid for uid in stored)) + options:
        if all(option.obtain(uid) is not None for uid in stored):
            return [option]
    options = [option for option in options if option.media_type == options[0].media_type]
    select = chooser(options)
    for uid in sorted(stored):
        select(uid)
    return options


async def instances(request: web.Request) -> web.StreamResponse:
    """The study, series or instance of the path as DICOM files."""
    target = Target.of(request)
    retrieval = request.app[RETRIEVAL]
    options = representations(wanted(request), single=target.instance is not None)
    rows = await first_page(retrieval, target)
    if target.instance is None:
        groups = await outline(request.app[CONTEXT].database, target.selection)
        stored = {group.transfer_syntax_uid for group in groups}
    else:
        stored = {row.transfer_syntax_uid for row in rows}
    best = agreed(options, stored)
    kind = best[0].media_type
    options = [option for option in options if option.media_type == kind]
    if kind == DICOM:
        return await send_file(request, rows[0], best, options)
    body = Multipart(DICOM)
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: body.content_type, **ATTACHMENT})
    if kind == ZIP:
        name = f"{target.instance or target.series or target.study}.zip"
        response.headers[hdrs.CONTENT_TYPE] = ZIP
        response.headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="{_plain(name)}"'
    contents = _contents(retrieval, each(retrieval, rows, target), best, options, response)
    zipped = kind == ZIP
    chunks = zip_stream(retrieval, named_by_series(contents)) if zipped else _multipart(contents, body)
    return await stream(request, response, chunks)


async def _contents(
    retrieval: Retrieval,
    located: AsyncGenerator[Located, None],
    best: list[Representation],
    options: list[Representation],
    response: web.StreamResponse,
) -> AsyncGenerator[Content, None]:
    """Yield the opened instances, without those whose pixels cannot be sent in an acceptable form.

    "Every instance that can be converted" is sent, and the status is 206 (Partial Content) if an omission is known
    before the status has been sent (PS3.18-2017 §6.5.1.2, §10.4.3). Raises NotAcceptable when none can be sent.
    """
    reasons: list[NotAcceptable] = []

    def leave_out(one: Located, error: DataSetError) -> None:
        log.warning("instance %s is omitted from an answer: %s", one.sop_uid, error)
        if not reasons:
            reasons.append(_not_convertible(one, error))
        if not response.prepared:
            response.set_status(206)

    sent = False
    opened = retrieval.opened(located, chooser(best), may_come_as_stored(options), leave_out)
    async with aclosing(opened) as contents:
        async for content in contents:
            sent = True
            yield content
    if not sent and reasons:
        raise reasons[0]


def _not_convertible(located: Located, error: DataSetError) -> NotAcceptable:
    stored = located.transfer_syntax_uid
    return NotAcceptable(
        f"instance {located.sop_uid} cannot be transcoded: {error}; "
        f"it is available as stored with transfer-syntax={stored} or transfer-syntax=*"
    )


async def send_file(
    request: web.Request, located: Located, best: list[Representation], options: list[Representation]
) -> web.StreamResponse:
    """Send one instance as a DICOM file, as stored also in ranges. `best` of `options` are tried first."""
    retrieval, select = request.app[RETRIEVAL], chooser(best)
    uid = select(located.transfer_syntax_uid)
    if uid != located.transfer_syntax_uid:
        try:
            content = await retrieval.open(located, select, may_come_as_stored(options))
        except DataSetError as error:
            raise _not_convertible(located, error) from error
        content_type = f"{DICOM}; transfer-syntax={content.transfer_syntax_uid}"
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: content_type, hdrs.VARY: hdrs.ACCEPT, **ATTACHMENT})
        response.content_length = content.length
        return await stream(request, response, content.chunks())
    content_type = f"{DICOM}; transfer-syntax={uid}"
    tag = entity_tag("file", located.key, uid)
    if (answer := unchanged(request, tag)) is not None:
        return answer
    response = web.StreamResponse(headers={**validators(tag), **ATTACHMENT, hdrs.CONTENT_TYPE: content_type})
    start, stop = sent_span(request, response, located.size, tag)
    return await stream(request, response, retrieval.span(located, start, stop))


async def _multipart(opened: AsyncGenerator[Content, None], body: Multipart) -> AsyncGenerator[bytes, None]:
    async with aclosing(opened) as contents:
        async for content in contents:
            yield body.head(f"{DICOM}; transfer-syntax={content.transfer_syntax_uid}", length=content.length)
            async with aclosing(content.chunks()) as chunks:
                async for chunk in chunks:
                    yield chunk
            yield body.END
    yield body.close()


async def named_by_series(opened: AsyncGenerator[Content, None]) -> AsyncGenerator[ZipEntry, None]:
    """Yield the files of a zip: `series-001/000001.dcm` and so on, in the order of `opened`, which is closed. Names are
    ours, never a peer's.

    A series may reappear after another one (a study of two patients, whose series have equal numbers): files are
    counted by folder.
    """
    folders: dict[str, int] = {}
    counts: Counter[int] = Counter()
    async with aclosing(opened) as contents:
        async for content in contents:
            folder = folders.setdefault(content.located.series_uid, len(folders) + 1)
            counts[folder] += 1
            yield ZipEntry(f"series-{folder:03}/{counts[folder]:06}.dcm", content.chunks())


def _plain(name: str) -> str:
    """A file name made from a client's UID, safe in a header."""
    return "".join(c for c in name if c.isascii() and (c.isalnum() or c in "._-"))[:80]


_FILES: Final = (f'{MULTIPART}; type="{DICOM}"', DICOM, ZIP)
ROUTES = tuple(
    Route("GET", path, instances, "view", (ACCEPT,), answers=_FILES, errors=(404, 406, 409), name=name)
    for path, name in ((INSTANCE, "instance"), (STUDY, "study"), (SERIES, "series"))
)
