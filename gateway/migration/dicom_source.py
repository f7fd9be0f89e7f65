"""A DICOM node that is crawled: C-FIND from study to instance, and C-GET, or C-MOVE to us (PS3.4 C.4)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Final

from gateway.dicom.encode import Attribute, DataSet
from gateway.dicom.levels import Level
from gateway.dimse import status
from gateway.errors import AssociationLost, AssociationRefused, DataSetError, PermanentFailure, SourceError
from gateway.ingest.ingest import Ingest
from gateway.ingest.sink import IngestSink
from gateway.migration.crawled_archive import Instances, NamedInstance, StudyRow, is_uid, number_of
from gateway.migration.windows import Window
from gateway.net.requestor import Requestor
from gateway.scu import find, get, move
from gateway.scu.node import PLAIN_SYNTAXES, Node, associate

_STUDY_DATE, _STUDY_TIME, _STUDY_UID, _SERIES_UID = 0x00080020, 0x00080030, 0x0020000D, 0x0020000E
_SOP_CLASS, _SOP_INSTANCE, _RELATED_INSTANCES = 0x00080016, 0x00080018, 0x00201208
_MAX_INSTANCES: Final = 1 << 20
"""Instances of one study that an archive may name."""


class DicomSource:
    """A node. Instances are sent to `destination`, an AE title of a gateway that runs, or over C-GET if it is empty."""

    def __init__(self, node: Node, destination: str = "") -> None:
        self._node = node
        self._destination = destination
        self.name = str(node)
        """A text that is the same for the same node."""

    async def studies(self, window: Window | None) -> AsyncGenerator[StudyRow, None]:
        """The studies in a window, or all of them. Raises as `find.find`, and SourceError."""
        when = window.study_date if window is not None else ""
        keys = {
            _STUDY_DATE: _text("DA", when),
            _STUDY_TIME: _text("TM", window.study_time if window is not None else ""),
            _STUDY_UID: _text("UI"),
            _RELATED_INSTANCES: _text("IS"),
        }
        async with self._association() as association, aclosing(_found(association, "study", keys)) as found:
            async for each in found:
                uid, expected = _value(each, _STUDY_UID), number_of(_value(each, _RELATED_INSTANCES))
                yield StudyRow(uid, _value(each, _STUDY_DATE), _value(each, _STUDY_TIME), expected)

    async def instances(self, study_uid: str) -> Instances | None:
        """The instances of a study, asked for series by series. Raises as `studies`."""
        study = {_STUDY_UID: _text("UI", study_uid)}
        named: dict[str, NamedInstance] = {}
        async with self._association() as association:
            series = [
                _value(each, _SERIES_UID)
                async for each in _found(association, "series", {**study, _SERIES_UID: _text("UI")})
            ]
            for uid in dict.fromkeys(series):
                if not is_uid(uid):  # It cannot be asked for, and stands for what is in it.
                    named[f"all of series {uid}"] = NamedInstance(uid, "")
                    continue
                keys = {**study, _SERIES_UID: _text("UI", uid), _SOP_INSTANCE: _text("UI"), _SOP_CLASS: _text("UI")}
                async for each in _found(association, "instance", keys):
                    named[_value(each, _SOP_INSTANCE)] = NamedInstance(uid, _value(each, _SOP_CLASS))
                    if len(named) > _MAX_INSTANCES:
                        raise PermanentFailure(f"{study_uid}: more than {_MAX_INSTANCES} instances")
        return named or None

    async def bring(self, ingest: Ingest, study_uid: str, lacking: Instances, series_uid: str = "") -> None:
        """Have a study or a series sent. Raises PermanentFailure for what the node does not send; SourceError."""
        level: Level = "series" if series_uid else "study"
        keys = {_STUDY_UID: _text("UI", study_uid)} | ({_SERIES_UID: _text("UI", series_uid)} if series_uid else {})
        wanted = find.identifier(level, keys)
        if self._destination:
            responses = move.move(self._node, wanted, self._destination)
        else:
            node = self._node
            sink = IngestSink(ingest, aet=node.aet, host=node.host, our_aet=node.calling_aet)
            classes = _classes(lacking.values()) or get.COMMON_CLASSES
            responses = get.get(node, wanted, sink, classes=classes)
        final = None
        try:
            async with aclosing(responses):
                async for each in responses:
                    final = each
        except AssociationRefused as error:
            hint = "" if self._destination else "; have it send by C-MOVE to a gateway that runs: --to AET"
            raise SourceError(f"{error}{hint}") from None
        except (AssociationLost, OSError) as error:
            raise SourceError(str(error)) from None
        if final is None or not final.is_success:
            said = describe(final) if final is not None else "no answer"
            raise PermanentFailure(f"{self._node} answers {said}")

    async def close(self) -> None:
        """Nothing is open: each request has an association of its own."""

    @asynccontextmanager
    async def _association(self) -> AsyncIterator[Requestor]:
        """An association for queries. Raises SourceError where there is none, or it is lost."""
        try:
            async with associate(self._node, [(find.STUDY_ROOT, PLAIN_SYNTAXES)]) as association:
                yield association
        except (AssociationLost, AssociationRefused, OSError) as error:
            raise SourceError(str(error)) from None


async def _found(association: Requestor, level: Level, keys: DataSet) -> AsyncGenerator[DataSet, None]:
    """The matches; an empty one for one that cannot be read."""
    async with aclosing(find.find_on(association, find.identifier(level, keys))) as matches:
        async for match in matches:
            try:
                yield match.attributes()
            except DataSetError:
                yield {}


def describe(final: move.Progress) -> str:
    """The final response of a retrieval in words."""
    comment = f" ({final.comment})" if final.comment else ""
    return f"{status.describe(final.status)}{comment}, {final.completed} sent, {final.failed} failed"


def _classes(lacking: Iterable[NamedInstance]) -> list[str]:
    return [uid for uid in dict.fromkeys(each.sop_class_uid for each in lacking) if uid]


def _text(vr: str, value: str = "") -> Attribute:
    return Attribute(vr, [value] if value else [])


def _value(found: DataSet, tag: int) -> str:
    attribute = found.get(tag)
    return str(attribute.values[0]).strip("\0 ") if attribute is not None and attribute.values else ""
