"""gateway/access/hosts.py: names that are ours, and names that somebody has pointed at us."""

from __future__ import annotations

import pytest

from gateway.access.hosts import is_our_host, is_our_origin


@pytest.mark.parametrize(
    ("authority", "ours"),
    [
        ("localhost", True),
        ("LOCALHOST:8042", True),
        ("localhost.:8042", True),
        ("127.0.0.1:8042", True),
        ("[::1]:8042", True),
        ("10.1.2.3", True),
        ("pacs.example.org:443", True),
        ("Pacs.Example.org", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost@evil.example", False),
        ("evil.example/localhost", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_host(authority: str, ours: bool):
    assert is_our_host(authority, ["pacs.example.org"]) is ours


@pytest.mark.parametrize(
    ("origin", "ours"),
    [
        ("http://localhost:8042", True),
        ("https://viewer.example.org", True),
        ("http://viewer.example.org:443", True),
        ("https://viewer.example.org:8443", False),
        ("http://viewer.example.org", False),
        ("https://other.example.org", False),
        ("https://other.example.org:8042", False),
        ("http://localhost:3000", False),
        ("http://localhost", False),
        ("http://evil.example", False),
        ("null", False),
        ("", False),
        ("file://localhost:8042", False),
        ("http://localhost:port", False),
    ],
)
@pytest.mark.case("a page of another port is a page of another origin, for configured names too")
def test_origin(origin: str, ours: bool):
    assert is_our_origin(origin, "localhost:8042", ["viewer.example.org:443", "other.example.org"]) is ours


@pytest.mark.case("a page of another port is a page of another origin, for configured names too")
def test_the_name_asked_with_another_port():
    names = ["pacs.example.org"]
    assert is_our_origin("http://pacs.example.org:8042", "pacs.example.org:8042", names)
    assert not is_our_origin("http://pacs.example.org", "pacs.example.org:8042", names)
    assert not is_our_origin("http://pacs.example.org:9000", "pacs.example.org:8042", names)


def test_default_ports_are_the_schemes():
    assert is_our_origin("https://pacs.example.org", "pacs.example.org", [])
    assert is_our_origin("https://pacs.example.org", "pacs.example.org:443", [])
    assert not is_our_origin("http://pacs.example.org", "pacs.example.org:443", [])
    assert not is_our_origin("http://pacs.example.org", "pacs.example.org", [], scheme="https")
