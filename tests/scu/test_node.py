"""Whom a person means, and how it is called."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from gateway import config
from gateway.dicom import uids
from gateway.errors import AssociationLost, AssociationRefused, ConfigurationError
from gateway.net.session import Refusal
from gateway.scu.echo import echo
from gateway.scu.node import Node, find_node
from gateway.ul import negotiation
from gateway.ul.items import UserIdentity
from tests.support.nodes import EXPLICIT, asked_node


def settings(**modality: object) -> config.Settings:
    known = {"archive": msgspec.convert(modality, config.Modality)} if modality else {}
    return config.Settings(dicom=config.Dicom(aet="OURS", response_timeout=7), modalities=known)


class TestWho:
    def test_a_modality_by_name(self):
        node = find_node(settings(aet="PACS", host="pacs.example", port=104), "archive")
        assert (node.aet, node.host, node.port, node.calling_aet) == ("PACS", "pacs.example", 104, "OURS")
        assert node.response_timeout == 7
        assert str(node) == "archive (PACS@pacs.example:104)"

    def test_with_timeouts_and_a_name_of_its_own_for_us(self):
        modality = {"aet": "PACS", "host": "10.1.1.1", "port": 104, "our_aet": "SPECIAL", "response_timeout": 90.0}
        node = find_node(settings(**modality), "archive")
        assert (node.calling_aet, node.response_timeout) == ("SPECIAL", 90)

    def test_one_that_only_calls_us(self):
        with pytest.raises(ConfigurationError, match=r"modalities\.archive\.port"):
            find_node(settings(aet="CT"), "archive")

    @pytest.mark.parametrize(
        ("text", "aet", "host", "port"),
        [
            ("PACS@10.1.2.3:104", "PACS", "10.1.2.3", 104),
            ("MY PACS@name.example:11112", "MY PACS", "name.example", 11112),
            ("P@[::1]:104", "P", "::1", 104),
        ],
    )
    def test_an_address(self, text: str, aet: str, host: str, port: int):
        node = find_node(settings(), text)
        assert (node.aet, node.host, node.port, str(node)) == (aet, host, port, text)

    @pytest.mark.parametrize(
        "text",
        ["", "nobody", "A@b", "A@b:0", "A@b:70000", "@b:104", "A" * 17 + "@b:104", "A@:104", " @b:1", "A@::1:104"],
    )
    def test_nobody(self, text: str):
        with pytest.raises(ConfigurationError, match="is no modality"):
            find_node(settings(), text)


class TestIdentity:
    """PS3.7 D.3.3.7, as the one who asks."""

    def modality(self, **fields: object) -> Node:
        return find_node(settings(aet="PEER", host="127.0.0.1", port=104, **fields), "archive")

    def test_none_unless_configured(self):
        assert self.modality().identity is None

    def test_a_name_a_password_a_token(self, tmp_path: Path):
        assert self.modality(identity_name="ann").identity == UserIdentity(1, b"ann", b"", True)
        node = self.modality(identity_name="änn", identity_password="secret")
        assert node.identity == UserIdentity(2, "änn".encode(), b"secret", True)
        assert "secret" not in repr(node)
        file = tmp_path / "token"
        file.write_text("a.b.c\n")
        assert self.modality(identity_token_file=str(file)).identity == UserIdentity(5, b"a.b.c", b"", True)
        file.write_text("d.e.f")
        assert self.modality(identity_token_file=str(file)).identity == UserIdentity(5, b"d.e.f", b"", True)

    def test_a_token_that_is_not_there(self, tmp_path: Path):
        with pytest.raises(ConfigurationError, match=r"modalities\.archive\.identity_token_file .*No such file"):
            self.modality(identity_token_file=str(tmp_path / "none"))
        (tmp_path / "empty").write_text("\n")
        with pytest.raises(ConfigurationError, match="0 bytes cannot be a token"):
            self.modality(identity_token_file=str(tmp_path / "empty"))

    @pytest.mark.parametrize(("response", "needed"), [(b"", True), (b"ticket", True), (None, False), (b"", False)])
    async def test_it_is_shown(self, response: bytes | None, needed: bool):
        identity = UserIdentity(2, b"ann", b"secret", True)
        async with asked_node({uids.VERIFICATION: [EXPLICIT]}) as asked:
            asked.identity_response = response
            assert await echo(replace(asked.node, identity=identity, identity_confirmed=needed)) == 0
            assert asked.identities == [identity]

    async def test_no_association_where_it_is_not_confirmed(self):
        node = UserIdentity(1, b"ann", b"", True)
        async with asked_node({uids.VERIFICATION: [EXPLICIT]}) as asked:
            with pytest.raises(AssociationLost, match=r"PEER@.* does not confirm our user identity"):
                await echo(replace(asked.node, identity=node, identity_confirmed=True))
            assert not asked.messages


class TestEcho:
    async def test_it_answers(self):
        async with asked_node({uids.VERIFICATION: [EXPLICIT]}) as asked:
            assert await echo(asked.node) == 0

    async def test_it_does_not_do_that(self):
        async with asked_node({}) as asked:
            with pytest.raises(AssociationRefused, match="PEER accepted no context"):
                await echo(asked.node)

    async def test_it_refuses_us(self):
        async with asked_node({}) as asked:
            asked.refusal = Refusal(negotiation.CALLING_AE_TITLE_NOT_RECOGNIZED, "unknown")
            with pytest.raises(AssociationRefused, match="PEER: rejected permanently: calling AE title not recognized"):
                await echo(asked.node)

    async def test_nobody_is_there(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            with pytest.raises(AssociationLost, match=r"NONE@127\.0\.0\.1:\d+: no connection: connection refused"):
                await echo(Node("NONE", *free.getsockname()))

    async def test_the_name_is_unknown(self):
        with pytest.raises(AssociationLost, match="no connection"):
            await echo(Node("NONE", "name.invalid", 104))

    async def test_it_accepts_connections_and_says_nothing(self):
        gone = asyncio.Event()

        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await gone.wait()
            writer.close()

        async with asyncio.timeout(10), await asyncio.start_server(hold, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            try:
                with pytest.raises(AssociationLost, match=r"MUTE: no answer to our request in 0\.1 s"):
                    await echo(Node("MUTE", host, port, association_timeout=0.1))
            finally:
                gone.set()
