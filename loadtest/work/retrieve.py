"""C-MOVE and C-GET of a study."""

from __future__ import annotations

from contextlib import aclosing

from gateway.dicom.encode import Attribute, DataSet, encode_data_set
from gateway.dimse import messages
from gateway.dimse.command import C_STORE_RQ, Command
from gateway.dimse.status import Category, category, describe
from gateway.net.buffers import Block
from gateway.net.exchange import Exchange
from gateway.net.receiver import Receiver
from gateway.net.refused_request import RefusedRequest
from gateway.net.requestor import Requestor
from gateway.ul.items import RoleSelection
from gateway.ul.negotiation import PresentationContext
from loadtest.scenario import Work
from loadtest.shelf import Place
from loadtest.stats import Stats
from loadtest.work.ask import PLAIN, Associated
from loadtest.work.base import Failed, Ground, something

MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
_SILENCE = 10
"""How many timeouts a server may send nothing: responses during the sub-operations are optional."""
_LEVEL, _STUDY = 0x00080052, 0x0020000D


class Move(Associated):
    """C-MOVE to the AE title `move_to` of the target, over an association that stays open.

    Instances are counted as the server reports them; bytes are those received here since, if `move_to` is our own AE.
    """

    abstract_syntax = MOVE

    async def do(self, stats: Stats, since: float) -> None:
        study = (await something(self.ground.shelf))[0].study
        association = self.association
        request = messages.c_move_request(association.next_message_id(), MOVE, self.ground.target.move_to)
        sent = await _retrieve(association, request, MOVE, study)
        stats.done(since, sent, self.ground.received())


class Get:
    """C-GET. Each operation opens an association: the SOP Classes of each study have to be negotiated."""

    def __init__(self, ground: Ground, work: Work) -> None:
        self._ground = ground

    async def open(self) -> int:
        return 1

    async def do(self, stats: Stats, since: float) -> None:
        study = await something(self._ground.shelf)
        async with _Getting(self._ground, study, stats) as association:
            request = messages.c_get_request(association.next_message_id(), GET)
            await _retrieve(association, request, GET, study[0].study)
        stats.done(since)

    async def close(self, broken: bool) -> None:
        pass


class _Getting:
    """An association on which the peer may send the instances of a study."""

    def __init__(self, ground: Ground, study: list[Place], stats: Stats) -> None:
        classes = sorted({place.sop_class for place in study})
        self._call = ground.target.call(
            [(GET, PLAIN), *((uid, PLAIN) for uid in classes)],
            roles=[RoleSelection(uid, scu=False, scp=True) for uid in classes],
        )
        self._ground = ground
        self._stats = stats
        self._association: Requestor | None = None

    async def __aenter__(self) -> Requestor:
        self._association = await Requestor.open(self._call, self._ground.blocks, self._serve)
        return self._association

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
        assert self._association is not None
        await (self._association.abort() if error is not None else self._association.release())

    def _serve(self, on: Requestor, context: PresentationContext, command: Command) -> Receiver:
        if command.command_field != C_STORE_RQ or context.abstract_syntax == GET:
            return RefusedRequest(on, context, command)
        return Counted(on, context, command, self._stats)


class Counted(Receiver):
    """A receiver that counts an instance, and answers that it is stored."""

    def __init__(self, on: Exchange, context: PresentationContext, command: Command, stats: Stats) -> None:
        self._on, self._context, self._command, self._stats = on, context, command, stats
        self._size = 0

    def write(self, data: memoryview, block: Block) -> None:
        self._size += len(data)

    def end(self) -> None:
        self._stats.moved(1, self._size)
        self._on.respond(self._context.id, messages.response(self._command, 0).encode())


async def _retrieve(association: Requestor, request: Command, model: str, study: str) -> int:
    """Request a study, and return how many instances the server reports as sent. Raises Failed when one was not."""
    context = association.context_for(model)
    wanted: DataSet = {_LEVEL: Attribute("CS", ["STUDY"]), _STUDY: Attribute("UI", [study])}
    data_set = encode_data_set(wanted, context.transfer_syntax)
    timeout = association.call.response_timeout * _SILENCE
    async with aclosing(association.requests(context, request, [data_set], timeout=timeout)) as responses:
        async for response in responses:
            if response.is_pending:
                continue
            if category(response.status) is not Category.SUCCESS:
                raise Failed(describe(response.status))
            if response.command.failed_suboperations:
                raise Failed("sub-operations failed")
            return response.command.completed_suboperations or 0
    raise AssertionError("responses end with a final one")
