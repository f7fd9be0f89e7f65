"""gateway/scp/service_class.py: what a service class declares is what is negotiated, served, permitted and stated."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from gateway.config import Dicom
from gateway.dicom import uids
from gateway.dimse import messages, status
from gateway.dimse.command import C_FIND_RQ, N_GET_RQ
from gateway.net.requestor import associate
from gateway.scp import query, storage, verification
from gateway.scp.conformance import statement
from gateway.scp.operation import Operation
from gateway.scp.service_class import UNCOMPRESSED, Registry, ServiceClass
from gateway.scp.services import REGISTRY, Offer
from gateway.ul.items import ExtendedNegotiation, RoleSelection
from tests.support.datasets import DEFLATED, EXPLICIT, IMPLICIT
from tests.support.intake import intake

HANGING_PROTOCOL_FIND = "1.2.840.10008.5.1.4.38.2"


class Nothing(Operation):
    """Finds nothing."""

    async def perform(self, identifier: bytes) -> None:
        self.respond(messages.c_find_response(self.command))


HANGING_PROTOCOLS = ServiceClass(
    "find",
    "Hanging Protocol Query",
    (HANGING_PROTOCOL_FIND,),
    {C_FIND_RQ: Nothing},
    transfer_syntaxes=frozenset({IMPLICIT}),
    extended=b"\1\1",
    requestor_may_be_scp=True,
)


@pytest.mark.case("item 6 a SOP class is added at one place")
class TestOneMore:
    async def test_is_negotiated_and_served_as_declared(self, tmp_path: Path) -> None:
        registry = Registry((*REGISTRY.services, HANGING_PROTOCOLS))
        async with asyncio.timeout(20), intake(tmp_path, registry=registry) as gateway:
            call = gateway.call(
                (HANGING_PROTOCOL_FIND, [EXPLICIT, IMPLICIT]),
                roles=(RoleSelection(HANGING_PROTOCOL_FIND, scu=True, scp=True),),
                extended=[ExtendedNegotiation(HANGING_PROTOCOL_FIND, b"\1\1\1")],
            )
            async with associate(call) as association:
                accepted = association.association.accepted
                assert accepted is not None
                assert [each.scp for each in accepted.user_information.roles] == [True]
                assert [each.information for each in accepted.user_information.extended] == [b"\1\1"]
                context = association.context_for(HANGING_PROTOCOL_FIND)
                assert context.transfer_syntax == IMPLICIT
                request = messages.c_find_request(association.next_message_id(), HANGING_PROTOCOL_FIND)
                (response,) = [each async for each in association.requests(context, request, [bytes(8)])]
                assert response.status == status.SUCCESS

    async def test_needs_its_permission(self, tmp_path: Path) -> None:
        registry = Registry((*REGISTRY.services, HANGING_PROTOCOLS))
        modalities = {"ct": {"aet": "TEST", "allow": ["echo"]}}
        async with asyncio.timeout(20), intake(tmp_path, registry=registry, modalities=modalities) as gateway:
            calls = (HANGING_PROTOCOL_FIND, [IMPLICIT]), (uids.VERIFICATION, [IMPLICIT])
            async with associate(gateway.call(*calls)) as association:
                accepted = association.association.accepted
                assert accepted is not None
                assert [context.result for context in accepted.contexts] == [1, 0]

    def test_is_in_the_conformance_statement(self) -> None:
        text = statement(registry=Registry((*REGISTRY.services, HANGING_PROTOCOLS)))
        assert "Hanging Protocol Query (C-FIND); permission `find`:" in text
        assert f"| {HANGING_PROTOCOL_FIND} | no | yes |" in text


@pytest.mark.case("item 6 two service classes that claim the same SOP class are refused")
def test_two_that_claim_the_same() -> None:
    other = dataclasses.replace(HANGING_PROTOCOLS, title="Another")
    with pytest.raises(ValueError, match=f"{HANGING_PROTOCOL_FIND} belongs to Hanging Protocol Query"):
        Registry((HANGING_PROTOCOLS, other))
    with pytest.raises(ValueError, match="both take unregistered ones"):
        Registry((storage.SERVICE, dataclasses.replace(HANGING_PROTOCOLS, takes_unregistered=True)))


def test_what_is_offered() -> None:
    contexts = Offer(Dicom()).contexts
    assert contexts.keys() == {uid for service in REGISTRY.services for uid in service.sop_classes}
    assert contexts[verification.SERVICE.sop_classes[0]] == UNCOMPRESSED
    assert {contexts[model] for model in query.MODELS} == {UNCOMPRESSED | {DEFLATED}}
    assert contexts[storage.SERVICE.sop_classes[0]] == set(uids.TRANSFER_SYNTAXES)


def test_what_is_of_nobody() -> None:
    """A SOP class of PS3.6 that is not served is nobody's; one that PS3.6 does not name is stored."""
    assert REGISTRY.of(HANGING_PROTOCOL_FIND) is None
    assert REGISTRY.of("1.2.3.4") is storage.SERVICE
    assert all(N_GET_RQ not in service.commands for service in REGISTRY.services)
