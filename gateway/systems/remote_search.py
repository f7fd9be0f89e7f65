"""Searches of other systems for people: of modalities by C-FIND, of DICOMweb servers by QIDO-RS, in one form.

Nothing is kept. A source is named by its kind and its name, as in `modality:pacs`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from gateway.dicom.encode import DataSet
from gateway.dicom.json_reader import from_json
from gateway.dicom.levels import UNIQUE_KEYS, Level
from gateway.dimse import status
from gateway.errors import BadRequest, DataSetError, GatewayError, RequestFailed
from gateway.remote import qido
from gateway.remote.http import HttpClient
from gateway.scu.echo import echo
from gateway.systems.calls import node_of
from gateway.systems.directory import Directory, KnownSystem
from gateway.systems.kept_queries import KeptQueries

SourceKind = Literal["modality", "server"]
_KINDS: Final[tuple[SourceKind, ...]] = ("modality", "server")
_UNIQUE: Final = UNIQUE_KEYS["study"]


class RemoteSource(NamedTuple):
    """A system that can be searched."""

    kind: SourceKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class KnownRemoteSource:
    """A source with what is known of it, in Orthanc's fields."""

    source: RemoteSource
    system: KnownSystem

    @property
    def address(self) -> str:
        """How the source is called, for people."""
        fields = self.system.fields
        if self.source.kind == "server":
            return str(fields["Url"])
        return f"{fields['AET']}@{fields['Host']}:{fields['Port']}"


class SearchAnswers(NamedTuple):
    """The answers of a source, and whether they are all there are."""

    answers: list[DataSet]
    is_complete: bool


def parse_source(text: str) -> RemoteSource:
    """The source that a text names. Raises BadRequest."""
    kind, _, name = text.partition(":")
    if kind not in _KINDS or not name:
        raise BadRequest(f"{text[:80]!r} is no source; modality:NAME or server:NAME is one")
    return RemoteSource(kind, name)


class RemoteSearch:
    """Searches and tests the systems of a directory."""

    def __init__(self, directory: Directory, queries: KeptQueries) -> None:
        self._directory = directory
        self._queries = queries

    async def sources(self) -> list[KnownRemoteSource]:
        """All sources: modalities, then servers, in the order of their names. A modality that cannot be called, since
        it has no port, is none."""
        return [
            KnownRemoteSource(RemoteSource(kind, name), each)
            for kind in _KINDS
            for name, each in (await self._directory.systems(kind)).items()
            if kind == "server" or each.fields["Port"]
        ]

    async def find(self, source: RemoteSource, level: Level, keys: DataSet, *, limit: int) -> SearchAnswers:
        """Ask a source at a level; `keys` without values are what is to be returned. At most `limit` answers.

        Raises: NotFound for an unknown source; otherwise GatewayError, with a text that names the system.
        """
        found = [each async for each in self.stream(source, level, keys, limit=limit + 1)]
        return SearchAnswers(found[:limit], len(found) <= limit)

    async def stream(
        self, source: RemoteSource, level: Level, keys: DataSet, *, limit: int
    ) -> AsyncGenerator[DataSet, None]:
        """The answers as they arrive; a DICOMweb server sends all at once. Closed early, it has a modality cancel."""
        if source.kind == "modality":
            async with aclosing(self._queries.stream(source.name, level, keys, limit=limit)) as answers:
                async for each in answers:
                    yield each
        else:
            for each in await self._by_qido(source.name, level, keys, limit):
                yield each

    async def echo(self, source: RemoteSource) -> float:
        """Test a source by C-ECHO, or by a search for one study; returns the seconds that it has taken. Raises as
        `find`."""
        began = time.monotonic()
        if source.kind == "modality":
            node = await node_of(self._directory, source.name)
            code = await echo(node)
            if code != status.SUCCESS:
                raise RequestFailed(f"{node} answers C-ECHO with {status.describe(code)}", code)
        else:
            await self._search(source.name, "/studies", {}, [], 1)
        return time.monotonic() - began

    async def _by_qido(self, server: str, level: Level, keys: DataSet, limit: int) -> list[DataSet]:
        """QIDO-RS has no patients: they are found by their studies, each once."""
        values = {f"{tag:08X}": each.text for tag, each in keys.items() if each.values}
        fields = [f"{tag:08X}" for tag, each in keys.items() if not each.values]
        path = "/series" if level == "series" else "/studies"
        if level == "series" and (study := values.pop(f"{_UNIQUE:08X}", "")):
            path = f"/studies/{study}/series"
        found = await self._search(server, path, values, fields, limit)
        try:
            data_sets = [from_json(each) for each in found]
        except DataSetError as error:
            raise GatewayError(f"{server}: an answer to a search cannot be read: {error}") from None
        if level == "patient":
            patient = UNIQUE_KEYS["patient"]
            return list({each[patient].text: each for each in reversed(data_sets) if patient in each}.values())[::-1]
        return data_sets

    async def _search(
        self, server: str, path: str, keys: dict[str, str], fields: list[str], limit: int
    ) -> list[dict[str, Any]]:
        client = HttpClient(server, await self._directory.section("server", server))
        try:
            return await qido.search(client, path, keys, fields, limit)
        finally:
            await client.close()
