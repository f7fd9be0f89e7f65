"""PS3.8 §9.3.2, §9.3.3 and PS3.7 D.3.3: items and sub-items, well-formed, padded, unknown and broken."""

from __future__ import annotations

import struct

import pytest
from pynetdicom.tests import encoded_pdu_items as samples

from gateway.errors import ProtocolError
from gateway.ul import items


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0xEE, len(value)) + value


def user(*sub_items: bytes) -> items.UserInformation:
    return items.decode_items(item(0x50, b"".join(sub_items))).user_information


def context(identifier: int = 1, *sub_items: bytes) -> bytes:
    return item(0x20, bytes((identifier, 9, 9, 9)) + b"".join(sub_items or (item(0x30, b"1.2"), item(0x40, b"1.2.3"))))


class TestPS38_9_3_2_2_PresentationContext:
    def test_uids_padded_with_nul_or_space(self) -> None:
        (read,) = items.decode_items(context(1, item(0x30, b"1.2\0"), item(0x40, b"1.2.3 "))).proposed
        assert read == items.ProposedContext(1, "1.2", ["1.2.3"])

    def test_unknown_items_are_skipped(self) -> None:
        read = items.decode_items(item(0x99, b"abc") + context(3, item(0x77, b""), item(0x30, b"1.2")) + item(0, b""))
        assert read.proposed == [items.ProposedContext(3, "1.2", [])]

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (context(2), "not odd"),
            (context(0), "not odd"),
            (context(1) + context(1), "twice"),
            (context(1) + item(0x21, bytes((1, 0, 3, 0))), "twice"),
            (context(1, item(0x40, b"1.2")), "no abstract syntax"),
            (item(0x20, b"\1\0\0"), "too short"),
            (item(0x21, bytes((1, 0, 0, 0))), "without a transfer syntax"),
            (item(0x20, b"\1\0\0\0\x30\0\0\x05abc"), "past the end"),
            (item(0x20, b"\1\0\0\0\x30"), "left over"),
            (b"\x20\0\xff\xff", "past the end"),
            (b"\x20\0\0", "left over"),
        ],
    )
    def test_refused_as_invalid_parameter(self, data: bytes, why: str) -> None:
        with pytest.raises(ProtocolError, match=why) as caught:
            items.decode_items(data)
        assert (caught.value.source, caught.value.reason) == (2, 6)

    def test_128_contexts_are_all_there_can_be(self) -> None:
        data = b"".join(context(number) for number in range(1, 256, 2))
        assert len(items.decode_items(data).proposed) == items.MAX_CONTEXTS
        with pytest.raises(ProtocolError):
            items.decode_items(data + context(1))


def test_PS38_9_3_3_2_a_refused_context_may_lack_its_transfer_syntax() -> None:
    (read,) = items.decode_items(item(0x21, bytes((5, 0, 3, 0)))).results
    assert read == items.ContextResult(5, 3, "")


class TestPS37_D_3_3_UserInformation:
    def test_a_window_that_is_not_stated_is_one_each_way(self) -> None:
        assert items.AsynchronousOperations() == items.AsynchronousOperations(1, 1)

    def test_bytes_behind_the_roles_are_passed_over(self) -> None:
        read = user(item(0x54, b"\0\3" + b"1.2" + b"\1\0" + b"more"))
        assert read.roles == [items.RoleSelection("1.2", scu=True, scp=False)]

    def test_all_of_them_in_any_order(self) -> None:
        read = user(
            item(0x59, b"\0\2ok"),
            item(0x55, b"NAME "),
            samples.asynchronous_window_ops,
            samples.role_selection,
            samples.extended_negotiation,
            samples.common_extended_negotiation,
            samples.user_identity_rq_user_pass,
            samples.maximum_length_received,
            item(0x52, b"1.2.3\0"),
            item(0x5A, b"from the future"),
        )
        assert read.max_length == 16382
        assert read.implementation_class_uid == "1.2.3"
        assert read.implementation_version_name == "NAME"
        assert read.operations == items.AsynchronousOperations(5, 5)
        assert len(read.roles) == len(read.extended) == len(read.common_extended) == 1
        assert read.identity == items.UserIdentity(2, b"pynetdicom", b"p4ssw0rd", response_requested=False)
        assert read.identity_response == b"ok"

    def test_a_passcode_does_not_show(self) -> None:
        assert "secret" not in repr(items.UserIdentity(2, b"secret", b"secret"))

    def test_identity_that_ends_after_its_primary_field(self) -> None:
        assert user(item(0x58, b"\1\1\0\3joe")).identity == items.UserIdentity(1, b"joe", b"", response_requested=True)

    def test_nothing_said_about_maximum_length(self) -> None:
        assert user().max_length == 0

    @pytest.mark.parametrize(
        "sub_item",
        [
            item(0x51, b"\0\0\x40"),
            item(0x51, struct.pack(">L", 1)),
            item(0x51, struct.pack(">L", items.MIN_MAX_LENGTH - 1)),
            item(0x53, b"\0\1\0"),
            item(0x54, b"\0\3" + b"1.2\1"),
            item(0x54, b"\0\7" + b"1.2"),
            item(0x54, b"\0"),
            item(0x56, b"\0\7" + b"1.2"),
            item(0x57, b"\0\3" + b"1.2"),
            item(0x57, b"\0\3" + b"1.2" + b"\0\3" + b"1.3" + b"\0\2" + b"\0\5"),
            item(0x58, b"\1"),
            item(0x58, b"\1\0\0\5joe"),
            item(0x58, b"\1\0\0\3joe\0"),
            item(0x59, b"\0\5ok"),
            item(0x59, b"\0\3ok"),
            item(0x56, b"\0\4" + b"1.2"),
            b"\x51\0\0\x05\0\0",
        ],
    )
    def test_refused_as_invalid_parameter(self, sub_item: bytes) -> None:
        with pytest.raises(ProtocolError) as caught:
            user(sub_item)
        assert (caught.value.source, caught.value.reason) == (2, 6)
