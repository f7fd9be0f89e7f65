"""C-FIND of the Query/Retrieve service class (PS3.4 §C.4.1): an identifier is answered with one response per match.

This module checks identifiers and chooses the statuses; `retrieve/query.py` finds the matches. Worklists, which are
queried with C-FIND too, are in `worklist.py`.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import Final, NamedTuple

from gateway.audit.searches import search_detail
from gateway.dicom.decode import decode_data_set
from gateway.dicom.dictionary import implicit_vr
from gateway.dicom.encode import Attribute, DataSet, encode_data_set
from gateway.dicom.levels import BY_CODE, CODES, LEVELS, QUERY_RETRIEVE_LEVEL, UNIQUE_KEYS, Level
from gateway.dimse import messages, status
from gateway.dimse.command import C_FIND_RQ, Command
from gateway.errors import BadRequest, DatabaseError, DataSetError, StorageError
from gateway.index import attributes as tags
from gateway.index.compare import is_universal, requested
from gateway.index.zones import says_times
from gateway.net.session import Session
from gateway.retrieve.query import QueryExecution, TooManyInstances
from gateway.scp.auditing import ACTIONS
from gateway.scp.context import Context
from gateway.scp.operation import Operation
from gateway.scp.service_class import UNCOMPRESSED_OR_DEFLATED, ServiceClass
from gateway.ul.negotiation import PresentationContext

log = logging.getLogger(__name__)

PATIENT_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
PATIENT_STUDY_ONLY_FIND: Final = "1.2.840.10008.5.1.4.1.2.3.1"

MODELS: Final[dict[str, tuple[Level, ...]]] = {
    PATIENT_ROOT_FIND: LEVELS,
    STUDY_ROOT_FIND: LEVELS[1:],
    PATIENT_STUDY_ONLY_FIND: LEVELS[:2],
}
"""The levels of each information model, from its root down (§C.6). The last model is retired, but still requested."""

_NO_KEYS: Final = frozenset(
    {tags.SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL, tags.RETRIEVE_AE_TITLE, tags.INSTANCE_AVAILABILITY}
)
"""Attributes of an identifier that describe the query or its answer, and are not keys."""
_ONLINE: Final = Attribute("CS", ["ONLINE"])

EXTENSIONS: Final = bytes((1, 1, 1, 0, 0, 0, 0))
"""Relational queries, combined date time, fuzzy names; then, unsupported: time zone adjustment, multi-frame
conversion, empty value matching, multiple value matching (§C.5.1.1, Table C.5-2)."""


class Extensions(NamedTuple):
    """The extensions negotiated for one query SOP class by SOP Class Extended Negotiation (§C.5.1.1)."""

    relational: bool = False
    combined_date_time: bool = False
    fuzzy_names: bool = False

    @classmethod
    def of(cls, information: bytes) -> Extensions:
        """Parse the service-class-application-information of our answer; b'' if there was none."""
        return cls(*[flag == 1 for flag in information[:3].ljust(3, b"\0")])


class IdentifierError(BadRequest):
    """The identifier of a request does not match its SOP class; the error has the status and the offending elements."""

    def __init__(self, code: int, comment: str, *offending: int) -> None:
        super().__init__(comment)
        self.status = code
        self.offending = list(offending)


def read_level(sop_class_uid: str, identifier: DataSet, relational: bool, *, lenient: bool = False) -> Level:
    """The Query/Retrieve Level of an identifier; its keys are checked against the information model.

    With `lenient`, queries are relational, and a missing level is the lowest one whose unique key is present, which is
    the level that identifies an answer.

    Raises IdentifierError (A900) when the level is missing or not in this model; when a UID has a wild card, which UIDs
    do not have (§C.2.2.2.4: an empty key matches all of them); and, unless queries may be relational, when a level
    above has no single value in its unique key (§C.4.1.2.2.1).
    """
    levels = MODELS[sop_class_uid]
    level_key = identifier.get(QUERY_RETRIEVE_LEVEL)
    code = level_key.text.strip().upper() if level_key is not None else ""
    mismatch = status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS
    level = BY_CODE.get(code)
    if not code and lenient:
        level = next((name for name in reversed(levels) if UNIQUE_KEYS[name] in identifier), None)
    if not code and level is None:
        raise IdentifierError(mismatch, "Query/Retrieve Level is missing", QUERY_RETRIEVE_LEVEL)
    if level is None or level not in levels:
        known = " ".join([CODES[each] for each in levels])
        raise IdentifierError(mismatch, f"level {code[:16]!r} is none of {known}", QUERY_RETRIEVE_LEVEL)
    for name in levels[: levels.index(level) + 1]:
        tag = UNIQUE_KEYS[name]
        if tag in identifier and tag != tags.PATIENT_ID and set(identifier[tag].text) & {"*", "?"}:
            raise IdentifierError(mismatch, f"{_place(tag)}: a UID has no wild cards", tag)
    if relational or lenient:
        return level
    for above in levels[: levels.index(level)]:
        tag = UNIQUE_KEYS[above]
        key = identifier.get(tag)
        values = [str(value) for value in key.values] if key is not None else []
        if len(values) != 1 or not values[0].strip() or set(values[0]) & {"*", "?"}:
            raise IdentifierError(mismatch, f"{_place(tag)} needs one value at level {CODES[level]}", tag)
    return level


def _single(key: Attribute | None) -> str | None:
    """The single value of a UID key; None if it has another number of values."""
    return None if key is None or len(key.values) != 1 or is_universal(key) else str(key.values[0])


def _place(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


class Find(Operation):
    """One C-FIND-RQ."""

    action = ACTIONS["find"]

    def __init__(self, context: Context, session: Session, presentation: PresentationContext, command: Command) -> None:
        super().__init__(context, session, presentation, command)
        self._extensions = Extensions.of(session.extensions.get(presentation.abstract_syntax, b""))

    async def perform(self, identifier: bytes) -> None:
        """Send every match as a pending response, then the final response (§C.4.1.3)."""
        try:
            await self._find(decode_data_set(identifier, self.presentation.transfer_syntax))
        except IdentifierError as error:
            self._fail(error.status, str(error), error.offending)
        except TooManyInstances as error:
            self._fail(status.OUT_OF_RESOURCES, str(error))
        except (BadRequest, DataSetError) as error:
            self._fail(status.CANNOT_UNDERSTAND, str(error))
        except (DatabaseError, StorageError) as error:
            log.error("%s: a query failed: %s", self.session, error)
            self._fail(status.UNABLE_TO_PROCESS, "the index or a file cannot be read now")

    async def _find(self, identifier: DataSet) -> None:
        if self.command.affected_sop_class_uid != self.presentation.abstract_syntax:
            comment = "the SOP class is not that of the presentation context"
            raise IdentifierError(status.SOP_CLASS_NOT_SUPPORTED, comment)
        settings = self.context.settings()
        level = read_level(
            self.presentation.abstract_syntax,
            identifier,
            self._extensions.relational,
            lenient=settings.dicom.lenient_identifiers,
        )
        keys = {tag: key for tag, key in identifier.items() if tag not in _NO_KEYS}
        if self.context.use_cases.audit.is_on:
            self.audit_detail = search_detail((f"{tag:08X}", key.text) for tag, key in keys.items() if key.values)
        asks_zone = tags.TIMEZONE_OFFSET in keys
        if asks_zone or level != "patient":  # the time zone of the query's times; it is not matched (§C.2.2.2.1)
            keys[tags.TIMEZONE_OFFSET] = Attribute("SH", [])
        unique = UNIQUE_KEYS[level]
        keys.setdefault(unique, Attribute(implicit_vr(unique), []))
        finder = QueryExecution(
            self.context.use_cases.database,
            self.context.use_cases.store,
            level,
            keys,
            most_read=settings.query.max_instances_read,
            study_uid=_single(keys.get(tags.STUDY_INSTANCE_UID)) if level != "patient" else None,
            fuzzy=self._extensions.fuzzy_names,
            combined=self._extensions.combined_date_time,
        )
        charset = identifier.get(tags.SPECIFIC_CHARACTER_SET, Attribute("CS", []))
        always = {
            QUERY_RETRIEVE_LEVEL: Attribute("CS", [CODES[level]]),
            tags.RETRIEVE_AE_TITLE: Attribute("AE", [self._our_title(settings.dicom.aet, settings.dicom.aets)]),
            tags.INSTANCE_AVAILABILITY: _ONLINE,
        }
        count = 0
        async with aclosing(finder.pages()) as pages:
            async for page in pages:
                code = status.PENDING if finder.complete else status.PENDING_WITH_WARNINGS
                pending = messages.c_find_response(self.command, code)
                for found in page:
                    if self.cancelled.is_set():
                        break
                    answer = {tag: requested(key, found.get(tag)) for tag, key in keys.items()} | always
                    if not asks_zone and not (tags.TIMEZONE_OFFSET in found and says_times(answer)):
                        answer.pop(tags.TIMEZONE_OFFSET, None)  # only in answers with times (C.4.1.1.3.2)
                    self.send_pending(pending, self._encode(answer, charset.text))
                    count += 1
                    if not await self._delivered():
                        return
                if self.cancelled.is_set():
                    log.info(
                        "%s: a query at level %s was cancelled after %d matches", self.session, CODES[level], count
                    )
                    self.respond(messages.c_find_response(self.command, status.CANCEL))
                    return
        log.info("%s: a query at level %s found %d matches", self.session, CODES[level], count)
        self.respond(messages.c_find_response(self.command, status.SUCCESS))

    async def _delivered(self) -> bool:
        """Whether the peer has received most of the answers; if it receives none, the association is aborted."""
        timeout = self.session.response_timeout
        try:
            async with asyncio.timeout(timeout or None):
                await self.session.drain()
        except TimeoutError:
            self.session.abort(detail=f"the peer has received no answers for {timeout:g} s")
            return False
        return True

    def _encode(self, answer: DataSet, charset: str) -> bytes:
        return encode_data_set(answer, self.presentation.transfer_syntax, prefer=charset.partition("\\")[0].strip())

    def _our_title(self, aet: str, aets: tuple[str, ...]) -> str:
        """The AE title to retrieve from: the called one if it is ours, otherwise `aet`."""
        return self.session.called_aet if self.session.called_aet in aets else aet

    def _fail(self, code: int, comment: str, offending: list[int] | None = None) -> None:
        log.warning("%s: a query is answered %s: %s", self.session, status.describe(code), comment)
        response = messages.c_find_response(self.command, code, comment)
        response.offending_element = offending or None
        self.respond(response)


SERVICE: Final = ServiceClass(
    "find",
    "Query",
    tuple(MODELS),
    {C_FIND_RQ: Find},
    transfer_syntaxes=UNCOMPRESSED_OR_DEFLATED,
    extended=EXTENSIONS,
)
