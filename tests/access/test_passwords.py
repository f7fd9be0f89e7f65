"""gateway/access/passwords.py: strings made, read and refused."""

from __future__ import annotations

import pytest

from gateway.access import passwords
from gateway.errors import ConfigurationError

GOOD = passwords.hash_password("geheim")


def test_a_made_string_verifies_its_password_only():
    stored = passwords.parse(GOOD)
    assert passwords.verify("geheim", stored)
    assert not passwords.verify("Geheim", stored)
    assert not passwords.verify("", stored)


def test_the_same_password_never_gives_the_same_string():
    assert passwords.hash_password("geheim") != GOOD


@pytest.mark.parametrize(
    "text",
    [
        "",
        "geheim",
        "scrypt$16384$8$1$$",
        GOOD.replace("scrypt", "bcrypt"),
        GOOD.replace("16384", "16383"),
        GOOD.replace("16384", "1"),
        GOOD.replace("$16384$8$", "$1073741824$8$"),
        GOOD.replace("$8$1$", "$8$0$"),
        GOOD[:-3] + "*=",
        GOOD + "$x",
    ],
    ids=range(10),  # GOOD has a salt of its own each time
)
def test_what_is_no_hash_is_refused_and_not_repeated(text: str):
    with pytest.raises(ConfigurationError) as caught:
        passwords.parse(text)
    assert text == "" or text not in str(caught.value)
