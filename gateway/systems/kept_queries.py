"""C-FINDs whose answers are kept for a while, so that scripts can go through them, and retrieve what they name.

The newest MAX_KEPT of the whole gateway stay, as in Orthanc, and over restarts. A query belongs to whoever asked: what
another archive has of its patients is not for everybody here.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.database.actor import ACTOR
from gateway.database.database import Database, Script
from gateway.dicom.encode import DataSet, encode_data_set
from gateway.dicom.json_reader import from_json
from gateway.dicom.levels import Level
from gateway.errors import DataSetError, GatewayError, NotFound
from gateway.remote import queries
from gateway.scu import find
from gateway.scu.find import Match
from gateway.scu.node import PLAIN_SYNTAXES
from gateway.systems.calls import AS_KNOWN, CallOptions, node_of
from gateway.systems.directory import Directory

MAX_KEPT: Final = 100
MAX_ANSWERS: Final = 10_000
MAX_ANSWERS_BYTES: Final = 8 << 20
"""Of the answers to one query, as JSON; past either the peer is asked to cancel, and what has come counts."""
_CHARACTER_SET: Final = 0x00080005
_CHARACTER_SET_NAME: Final = f"{_CHARACTER_SET:08X}"


@dataclass(frozen=True, slots=True)
class KeptQuery:
    """One query with its answers."""

    public_id: str
    modality: str
    level: Level
    keys: DataSet
    answers: list[msgspec.Raw]
    """Objects of the DICOM JSON Model."""

    def answer(self, number: int) -> DataSet:
        """One of the answers. Raises IndexError."""
        return from_json(msgspec.json.decode(self.answers[number]))


class KeptQueries:
    """Asks modalities, and keeps what they answer."""

    def __init__(self, database: Database, directory: Directory, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._directory = directory
        self._clock = clock

    async def ask(
        self, modality: str, level: Level, keys: DataSet, options: CallOptions = AS_KNOWN, *, added: DataSet
    ) -> str:
        """Ask at a level and keep the answers; the public id. Errors as of `found`.

        `added` are keys that are asked for too, and not kept as those of the query.
        """
        asked = await self._adapted(modality, keys)
        answers = [each async for each in self._matches(modality, level, {**added, **asked}, options)]
        public_id, now, requester = str(uuid.uuid4()), self._clock(), ACTOR.get().user
        text = (b"[" + b",".join(answers) + b"]").decode()

        def script() -> Script[None]:
            yield queries.KEEP_QUERY, (public_id, modality, level, _json_of(asked).decode(), text, now, requester)
            yield queries.FORGET_QUERIES, (MAX_KEPT,)

        await self._database.write(script)
        return public_id

    async def found(
        self,
        modality: str,
        level: Level | None,
        keys: DataSet,
        options: CallOptions = AS_KNOWN,
        *,
        limit: int | None = None,
    ) -> list[DataSet]:
        """Ask at a level, or for worklist items, and keep nothing. After `limit` answers the peer is asked to cancel.

        Raises NotFound for a modality that is not known, RequestFailed, AssociationRefused, AssociationLost.
        """
        return [each async for each in self.stream(modality, level, keys, options, limit=limit)]

    async def stream(
        self,
        modality: str,
        level: Level | None,
        keys: DataSet,
        options: CallOptions = AS_KNOWN,
        *,
        limit: int | None = None,
    ) -> AsyncGenerator[DataSet, None]:
        """Ask like `found`, and yield each answer as it arrives. Closed early, it asks the peer to cancel too."""
        asked = await self._adapted(modality, keys)
        async with aclosing(self._matches(modality, level, asked, options, limit)) as matches:
            async for match in matches:
                yield from_json(msgspec.json.decode(match))

    async def listed(self, requester: str) -> list[str]:
        """The public ids of those of one requester, or ('') of all."""
        return [public_id for (public_id,) in await self._database.fetch(queries.LIST_QUERIES, requester)]

    async def get(self, public_id: str, requester: str) -> KeptQuery:
        """One of those of a requester, or ('') of all. Raises NotFound."""
        rows = await self._database.fetch(queries.GET_QUERY, public_id, requester)
        if not rows:
            raise NotFound(f"there is no query {public_id[:40]}")
        name, modality, level, keys, answers = rows[0]
        model = from_json(msgspec.json.decode(keys))
        return KeptQuery(name, modality, level, model, msgspec.json.decode(answers, type=list[msgspec.Raw]))

    async def remove(self, public_id: str, requester: str) -> None:
        """Forget one of a requester, or ('') of anybody; nothing happens where there is none."""

        def script() -> Script[None]:
            yield queries.REMOVE_QUERY, (public_id, requester)

        await self._database.write(script)

    async def _adapted(self, modality: str, keys: DataSet) -> DataSet:
        """The keys as this modality understands them, by its Manufacturer."""
        manufacturer = (await self._directory.system("modality", modality)).fields["Manufacturer"]
        if manufacturer == "GenericNoUniversalWildcard":
            return {tag: each._replace(values=[]) if each.text == "*" else each for tag, each in keys.items()}
        if manufacturer == "GenericNoWildcardInDates":
            dates = ("DA", "DT", "TM")
            return {
                tag: each._replace(values=[]) if each.vr in dates and each.text == "*" else each
                for tag, each in keys.items()
            }
        return keys

    async def _matches(
        self,
        modality: str,
        level: Level | None,
        keys: DataSet,
        options: CallOptions,
        limit: int | None = None,
    ) -> AsyncGenerator[bytes, None]:
        node = await node_of(self._directory, modality, options)
        model = {None: find.WORKLIST, "patient": find.PATIENT_ROOT}.get(level, find.STUDY_ROOT)
        count = size = 0
        async with aclosing(find.find(node, find.identifier(level, keys), model=model)) as matches:
            async for match in matches:
                answer = _json(match, node.aet)
                count, size = count + 1, size + len(answer)
                yield answer
                if count >= (MAX_ANSWERS if limit is None else limit) or size >= MAX_ANSWERS_BYTES:
                    break


def _json(match: Match, aet: str) -> bytes:
    """An answer as it is kept: with the character sets that it came in, which the model does not say."""
    try:
        came_in = match.attributes().get(_CHARACTER_SET)
        if came_in is None:
            return match.json()
        model = msgspec.json.decode(match.json())
    except DataSetError as error:
        raise GatewayError(f"{aet}: an answer to C-FIND cannot be read: {error}") from None
    model[_CHARACTER_SET_NAME] = {"vr": "CS", "Value": came_in.values}
    return msgspec.json.encode(model)


def _json_of(keys: DataSet) -> bytes:
    syntax = PLAIN_SYNTAXES[0]
    return Match(encode_data_set(keys, syntax), syntax).json()
