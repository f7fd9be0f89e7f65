"""gateway/access/proxies.py: RFC 7239, and the X-Forwarded headers."""

from __future__ import annotations

import pytest

from gateway.access.proxies import Seen, is_trusted, seen_by_forwarded, seen_by_x_forwarded

TRUSTED = ("10.0.0.0/8", "2001:db8::/32")


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("2001:db8::1", True),
        ("11.0.0.1", False),
        ("::1", False),
        ("", False),
        ("unknown", False),
    ],
)
def test_trusted(address: str, trusted: bool) -> None:
    assert is_trusted(address, TRUSTED) is trusted


class TestXForwarded:
    @pytest.mark.parametrize(
        ("clients", "client"),
        [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1, 10.0.0.2", "192.0.2.1"),
            ("6.6.6.6, 192.0.2.1, 10.0.0.2", "192.0.2.1"),  # what the client wrote itself
            ("10.0.0.3,10.0.0.2", "10.0.0.3"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("[2001:db9::1]:4711", "2001:db9::1"),
            ("2001:db9::1", "2001:db9::1"),
            ("unknown, 10.0.0.2", "10.0.0.1"),
            ("", "10.0.0.1"),
            ("1" * 5000, "10.0.0.1"),
            ("6.6.6.6," * 5000 + "192.0.2.1", "192.0.2.1"),
        ],
    )
    def test_client(self, clients: str, client: str) -> None:
        assert seen_by_x_forwarded("10.0.0.1", TRUSTED, clients, "", "", "") == Seen(client)

    def test_scheme_and_host_beside_the_client(self) -> None:
        seen = seen_by_x_forwarded(
            "10.0.0.1", TRUSTED, "6.6.6.6, 192.0.2.1, 10.0.0.2", "http, https, http", "evil, pacs.example, inner", ""
        )
        assert seen == Seen("192.0.2.1", "https", "pacs.example")
        seen = seen_by_x_forwarded("10.0.0.1", TRUSTED, "192.0.2.1, 10.0.0.2", "HTTPS", "evil, pacs.example, x", "")
        assert seen == Seen("192.0.2.1", "https", "x")

    @pytest.mark.parametrize(
        ("prefix", "kept"),
        [("/a", "/a"), ("/a/b/", "/a/b"), ("", ""), ("/", ""), ("a", ""), ("//a", ""), ("/{x}", ""), ('/"', "")],
    )
    def test_prefix(self, prefix: str, kept: str) -> None:
        assert seen_by_x_forwarded("10.0.0.1", TRUSTED, "", "gopher", "", prefix) == Seen("10.0.0.1", "", "", kept)


class TestForwarded:
    @pytest.mark.parametrize(
        ("text", "seen"),
        [
            ('for=192.0.2.43;proto=https;host="pacs.example:8443"', Seen("192.0.2.43", "https", "pacs.example:8443")),
            ('For="[2001:db9::17]:4711"', Seen("2001:db9::17")),
            ("for=6.6.6.6;host=evil, for=192.0.2.1;proto=https;host=a, for=10.0.0.2", Seen("192.0.2.1", "https", "a")),
            ("for=10.0.0.9;host=a, for=10.0.0.2;host=b", Seen("10.0.0.9", "", "a")),
            ("for=unknown;host=a", Seen("10.0.0.1", "", "a")),
            ("for=_hidden", Seen("10.0.0.1")),
            ("", Seen("10.0.0.1")),
            (";;;,,,==", Seen("10.0.0.1")),
        ],
    )
    def test_seen(self, text: str, seen: Seen) -> None:
        assert seen_by_forwarded("10.0.0.1", TRUSTED, text) == seen
