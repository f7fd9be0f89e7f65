"""Forms with files, in pieces of any size."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.http import form
from gateway.http.form import form_parts
from gateway.http.multipart import Malformed


def body(*parts: tuple[str, bytes], boundary: str = "x-y") -> bytes:
    """As browsers send it."""
    made = [f"--{boundary}\r\nContent-Disposition: form-data; {name}\r\n\r\n".encode() + data for name, data in parts]
    return b"\r\n".join([*made, f"--{boundary}--\r\n".encode()])


async def pieces(data: bytes, size: int) -> AsyncGenerator[bytes, None]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def read(data: bytes, size: int = 7, boundary: str = "x-y") -> list[tuple[str, bytes]]:
    found = []
    async for name, content in form_parts(pieces(data, size), boundary):
        found.append((name, b"".join([piece async for piece in content])))
    return found


@settings(deadline=None)
@given(contents=st.lists(st.binary(max_size=60), max_size=5), size=st.integers(1, 50))
async def test_every_part_comes_whole(contents: list[bytes], size: int) -> None:
    parts = [(f'name="file"; filename="{number}.dcm"', data) for number, data in enumerate(contents)]
    if any(b"--x-y" in data for data in contents):
        return
    found = await read(body(*parts), size)
    assert found == [(f"{number}.dcm", data) for number, data in enumerate(contents)]


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('name="a"', "a"),
        ('name="a"; filename="b \\"c\\".dcm"', 'b "c".dcm'),
        ("name=a; filename=b.dcm", "b.dcm"),
        ('name="a"; filename="../../x"', "../../x"),
        (f'filename="{"n" * 500}"', "n" * 200),
        ("nothing", ""),
    ],
)
async def test_what_a_part_is_called(disposition: str, name: str) -> None:
    assert await read(body((disposition, b"x"))) == [(name, b"x")]


async def test_what_is_not_read_is_passed_over() -> None:
    data = body(('name="a"', bytes(1000)), ('name="b"', b"second"))
    found = []
    async for name, content in form_parts(pieces(data, 10), "x-y"):
        found.append((name, await anext(content)))
    assert [name for name, _ in found] == ["a", "b"]


@pytest.mark.parametrize("data", [b"", b"nothing", body(('name="a"', b"x"))[:-8], body()[:-4] + b"-"])
async def test_what_is_no_form(data: bytes) -> None:
    with pytest.raises(Malformed):
        await read(data)


async def test_parts_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "MAX_PARTS", 3)
    parts = [('name="a"', b"x")] * 4
    assert len(await read(body(*parts[:3]))) == 3
    with pytest.raises(BadRequest, match="at most 3 parts"):
        await read(body(*parts))
