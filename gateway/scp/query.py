"""C-FIND of the Query/Retrieve service class (PS3.4 §C.4.1): identifiers in, matches out, one response each.

What an identifier may hold and which status answers it are decided here; finding is `archive/query.py`'s. Worklists
are queried with C-FIND too, and are not here.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import Final, NamedTuple

from gateway.archive.query import Finder, TooManyInstances
from gateway.dicom.decode import decode_data_set
from gateway.dicom.dictionary import implicit_vr
from gateway.dicom.encode import Attribute, DataSet, encode_data_set
from gateway.dimse import messages, status
from gateway.dimse.command import Command
from gateway.errors import BadRequest, DatabaseError, DataSetError, StorageError
from gateway.index import attributes as tags
from gateway.index.attributes import Level
from gateway.index.compare import is_universal, requested
from gateway.net.session import Session
from gateway.scp.context import Context
from gateway.scp.operation import Operation
from gateway.ul.negotiation import PresentationContext

log = logging.getLogger(__name__)

PATIENT_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
PATIENT_STUDY_ONLY_FIND: Final = "1.2.840.10008.5.1.4.1.2.3.1"

MODELS: Final[dict[str, tuple[str, ...]]] = {
    PATIENT_ROOT_FIND: ("PATIENT", "STUDY", "SERIES", "IMAGE"),
    STUDY_ROOT_FIND: ("STUDY", "SERIES", "IMAGE"),
    PATIENT_STUDY_ONLY_FIND: ("PATIENT", "STUDY"),
}
"""The levels of each information model, from its root down (§C.6). The last model is retired, and still asked for."""

_LEVELS: Final[dict[str, Level]] = {"PATIENT": "patient", "STUDY": "study", "SERIES": "series", "IMAGE": "instance"}
UNIQUE_KEYS: Final = {
    "PATIENT": tags.PATIENT_ID,
    "STUDY": tags.STUDY_INSTANCE_UID,
    "SERIES": tags.SERIES_INSTANCE_UID,
    "IMAGE": tags.SOP_INSTANCE_UID,
}
QUERY_RETRIEVE_LEVEL: Final = 0x00080052
_NO_KEYS: Final = frozenset(
    {tags.SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL, tags.RETRIEVE_AE_TITLE, tags.INSTANCE_AVAILABILITY}
)
"""Attributes of an identifier that are about the query or its answer, not about what is searched for."""
_ONLINE: Final = Attribute("CS", ["ONLINE"])

EXTENSIONS: Final = bytes((1, 1, 1, 0, 0, 0, 0))
"""Relational queries, combined date time, fuzzy names; then, unsupported: time zone adjustment, multi-frame
conversion, empty value matching, multiple value matching (§C.5.1.1, Table C.5-2)."""


class Extensions(NamedTuple):
    """What SOP Class Extended Negotiation has agreed on for one query SOP class (§C.5.1.1)."""

    relational: bool = False
    combined_date_time: bool = False
    fuzzy_names: bool = False

    @classmethod
    def of(cls, information: bytes) -> Extensions:
        """From the service-class-application-information that we answered with; b'' where there was none."""
        return cls(*[flag == 1 for flag in information[:3].ljust(3, b"\0")])


class IdentifierError(BadRequest):
    """The identifier of a request is not what its SOP class wants: carries the status and the offending elements."""

    def __init__(self, code: int, comment: str, *offending: int) -> None:
        super().__init__(comment)
        self.status = code
        self.offending = list(offending)


def read_level(sop_class_uid: str, identifier: DataSet, relational: bool) -> str:
    """The Query/Retrieve Level of an identifier, its keys checked against the information model.

    Raises IdentifierError (A900) where the level is missing or not of this model, and, unless queries may be
    relational, where a level above has no single value in its unique key (§C.4.1.2.2.1). `*` is not a value of a UID,
    and UIDs have no wild cards (§C.2.2.2.4); for all of them there is the empty key.
    """
    levels = MODELS[sop_class_uid]
    given = identifier.get(QUERY_RETRIEVE_LEVEL)
    level = given.text.strip().upper() if given is not None else ""
    mismatch = status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS
    if not level:
        raise IdentifierError(mismatch, "Query/Retrieve Level is missing", QUERY_RETRIEVE_LEVEL)
    if level not in levels:
        raise IdentifierError(mismatch, f"no level {level[:16]!r} here: {' '.join(levels)}", QUERY_RETRIEVE_LEVEL)
    for name in levels[: levels.index(level) + 1]:
        tag = UNIQUE_KEYS[name]
        if tag in identifier and tag != tags.PATIENT_ID and set(identifier[tag].text) & {"*", "?"}:
            raise IdentifierError(mismatch, f"{_place(tag)}: there are no wild cards for UIDs", tag)
    if relational:
        return level
    for above in levels[: levels.index(level)]:
        tag = UNIQUE_KEYS[above]
        key = identifier.get(tag)
        values = [str(value) for value in key.values] if key is not None else []
        if len(values) != 1 or not values[0].strip() or set(values[0]) & {"*", "?"}:
            raise IdentifierError(mismatch, f"{_place(tag)} needs one value at level {level}", tag)
    return level


def _single(key: Attribute | None) -> str | None:
    """The one value of a UID key."""
    return None if key is None or len(key.values) != 1 or is_universal(key) else str(key.values[0])


def _place(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


class Find(Operation):
    """One C-FIND-RQ."""

    def __init__(self, context: Context, session: Session, presentation: PresentationContext, command: Command) -> None:
        super().__init__(context, session, presentation, command)
        self._extensions = Extensions.of(session.extensions.get(presentation.abstract_syntax, b""))

    async def perform(self, identifier: bytes) -> None:
        """Every match as a pending response, then the final one (§C.4.1.3)."""
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
        level = read_level(self.presentation.abstract_syntax, identifier, self._extensions.relational)
        keys = {tag: key for tag, key in identifier.items() if tag not in _NO_KEYS}
        if tags.TIMEZONE_OFFSET in keys:  # says how the query's times are meant; not matched (§C.2.2.2.1)
            keys[tags.TIMEZONE_OFFSET] = Attribute("SH", [])
        unique = UNIQUE_KEYS[level]
        keys.setdefault(unique, Attribute(implicit_vr(unique), []))
        settings = self.context.settings()
        finder = Finder(
            self.context.database,
            self.context.store,
            _LEVELS[level],
            keys,
            most_read=settings.query.max_instances_read,
            study_uid=_single(keys.get(tags.STUDY_INSTANCE_UID)) if level != "PATIENT" else None,
            fuzzy=self._extensions.fuzzy_names,
            combined=self._extensions.combined_date_time,
        )
        charset = identifier.get(tags.SPECIFIC_CHARACTER_SET, Attribute("CS", []))
        always = {
            QUERY_RETRIEVE_LEVEL: Attribute("CS", [level]),
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
                    self.send_pending(pending, self._encode(answer, charset.text))
                    count += 1
                    if not await self._taken():
                        return
                if self.cancelled.is_set():
                    log.info("%s: a query at level %s was cancelled after %d matches", self.session, level, count)
                    self.respond(messages.c_find_response(self.command, status.CANCEL))
                    return
        log.info("%s: a query at level %s found %d", self.session, level, count)
        self.respond(messages.c_find_response(self.command, status.SUCCESS))

    async def _taken(self) -> bool:
        """Whether the peer has taken most of the answers; an association whose peer takes none is aborted."""
        timeout = self.session.response_timeout
        try:
            async with asyncio.timeout(timeout or None):
                await self.session.drain()
        except TimeoutError:
            self.session.abort(detail=f"it has taken no answers for {timeout:g} s")
            return False
        return True

    def _encode(self, answer: DataSet, charset: str) -> bytes:
        return encode_data_set(answer, self.presentation.transfer_syntax, prefer=charset.partition("\\")[0].strip())

    def _our_title(self, aet: str, aets: tuple[str, ...]) -> str:
        """The title to retrieve from: the one that was called, where it is ours."""
        return self.session.called_aet if self.session.called_aet in aets else aet

    def _fail(self, code: int, comment: str, offending: list[int] | None = None) -> None:
        log.warning("%s: a query is answered %s: %s", self.session, status.describe(code), comment)
        response = messages.c_find_response(self.command, code, comment[:64])
        response.offending_element = offending or None
        self.respond(response)


__all__ = ["EXTENSIONS", "MODELS", "UNIQUE_KEYS", "Extensions", "Find", "IdentifierError", "read_level"]
