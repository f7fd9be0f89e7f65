"""C-ECHO and C-FIND over one association that stays open."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing

from gateway.dicom import uids
from gateway.dicom.decode import decode_data_set
from gateway.dicom.dictionary import KEYWORDS, implicit_vr
from gateway.dicom.encode import Attribute, DataSet, encode_data_set
from gateway.dicom.levels import CODES, QUERY_RETRIEVE_LEVEL, Level
from gateway.dimse import messages
from gateway.dimse.status import Category, category, describe
from gateway.net.requestor import Requestor
from loadtest.scenario import Work
from loadtest.stats import Stats
from loadtest.work.base import Failed, Ground, filled

PLAIN = (uids.EXPLICIT_VR_LITTLE_ENDIAN.uid, uids.IMPLICIT_VR_LITTLE_ENDIAN.uid)
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
"""Study Root Query/Retrieve Information Model - FIND; the UID of MOVE ends with 2, that of GET with 3."""
_ONE_STUDY = {"StudyInstanceUID": "{study}", "PatientName": "", "PatientID": "", "StudyDate": "", "AccessionNumber": ""}


class Associated:
    """One association for one abstract syntax."""

    abstract_syntax = uids.VERIFICATION

    def __init__(self, ground: Ground, work: Work) -> None:
        self.ground = ground
        self.work = work
        self._association: Requestor | None = None

    @property
    def association(self) -> Requestor:
        assert self._association is not None
        return self._association

    async def open(self) -> int:
        call = self.ground.target.call([(self.abstract_syntax, PLAIN)])
        self._association = await Requestor.open(call, self.ground.blocks)
        return 1

    async def close(self, broken: bool) -> None:
        association, self._association = self._association, None
        if association is not None:
            await (association.abort() if broken else association.release())


class Echo(Associated):
    """C-ECHO on one association."""

    async def do(self, stats: Stats, since: float) -> None:
        if (status := await self.association.echo()) != 0:
            raise Failed(describe(status))
        stats.done(since)


class Find(Associated):
    """C-FIND in the Study Root model. Every match counts as an instance."""

    abstract_syntax = FIND

    def __init__(self, ground: Ground, work: Work) -> None:
        super().__init__(ground, work)
        self._keys = work.keys or _ONE_STUDY

    async def do(self, stats: Stats, since: float) -> None:
        keys = await filled(self._keys, self.ground)
        matches = await find(self.association, identifier(self.work.level, keys))
        stats.done(since, len(matches), sum(map(len, matches)))


def identifier(level: Level, keys: Mapping[str, str]) -> DataSet:
    """Build the identifier of a query from values by keyword. Raises KeyError for an unknown keyword."""
    found = {QUERY_RETRIEVE_LEVEL: Attribute("CS", [CODES[level]])}
    for keyword, text in keys.items():
        tag = KEYWORDS[keyword]
        found[tag] = Attribute(implicit_vr(tag), [text] if text else [])
    return found


async def find(association: Requestor, wanted: DataSet) -> list[bytes]:
    """Send a C-FIND, and return the encoded matches, in the transfer syntax of the context. Raises Failed."""
    context = association.context_for(FIND)
    request = messages.c_find_request(association.next_message_id(), FIND)
    data_set = encode_data_set(wanted, context.transfer_syntax)
    timeout = association.call.response_timeout
    matches = []
    async with aclosing(association.requests(context, request, [data_set], timeout=timeout)) as responses:
        async for response in responses:
            if response.is_pending:
                matches.append(response.data_set or b"")
            elif category(response.status) is not Category.SUCCESS:
                raise Failed(describe(response.status))
    return matches


async def found(association: Requestor, level: Level, keys: Mapping[str, str]) -> list[dict[int, str]]:
    """Send a query with few matches, and return each match as text by tag. Raises Failed, DataSetError."""
    syntax = association.context_for(FIND).transfer_syntax
    return [
        {tag: str(attribute.values[0]) for tag, attribute in decode_data_set(match, syntax).items() if attribute.values}
        for match in await find(association, identifier(level, keys))
    ]
