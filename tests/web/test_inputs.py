"""gateway/web/inputs.py: odd numbers, deep JSON and bytes that are no text are the client's mistakes, never ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.web.inputs import whole_number
from gateway.web.route import SERVED
from tests.support.index import data_set
from tests.support.web import House, archive

CASE = pytest.mark.case("broken 04 no odd number, deep JSON or broken text is answered by 500")
NUMBERS = ["%C2%B2", "%E2%82%82", "%D9%A3", "-1", "9" * 30, "1e400", "%00", "%FF", "a" * 3000, "nan", "+1", "%20"]
DEEP = 100_000
BODIES = [
    *(b"", b"null", b"[null]", b"1", b'"x"', b"[[]]", b"[" * DEEP, b'{"a":' * DEEP, b"\xff\xfe", b'{"Tags":null}'),
    *(b'{"Replace":{"PatientID":"\xff"}}', b'{"Study":"\xc2\xb2"}', b"what=resend&id=%C2%B2", b"what=%FF&id=1"),
]
TYPES = [
    *("application/json", "application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=nothing"),
    *('multipart/related; type="application/dicom+json"; boundary=X', "multipart/form-data; boundary=X"),
]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    """One that takes things in."""
    async with archive(tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *[("0", 0), ("007", 7), ("9" * 18, 10**18 - 1)],
        *[(text, None) for text in ("9" * 19, "", "²", "٣", "-1", "+1", " 1", "1_0")],
    ],
)
def test_whole_numbers(text: str, number: int | None):
    assert whole_number(text) == number


def places(gateway: House, *methods: str) -> Iterator[tuple[str, str]]:
    """Method and path of each operation, without those that stop or stream."""
    app = gateway.client.app
    assert app is not None
    for each in app[SERVED]:
        if each.method in methods and not each.path.endswith("/events"):
            yield each.method, each.path


def filled(path: str, value: str) -> str:
    while "{" in path:
        begin, _, rest = path.partition("{")
        path = begin + value + rest.partition("}")[2]
    return path


@CASE
@pytest.mark.parametrize("value", NUMBERS)
async def test_in_every_path(gateway: House, value: str):
    from yarl import URL

    await gateway.add(data_set("1.1"))
    for method, path in places(gateway, "GET", "POST", "PUT", "DELETE"):
        if "{" in path:
            url = gateway.client.make_url("/").join(URL(filled(path, value), encoded=True))
            answer = await gateway.client.session.request(method, url)
            assert answer.status < 500 or answer.status == 503, (method, path, await answer.text())


@CASE
@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:16]))
async def test_in_every_body(gateway: House, body: bytes, caplog: pytest.LogCaptureFixture):
    for method, path in places(gateway, "POST", "PUT"):
        for kind in TYPES:
            content = body
            if "related" in kind:
                content = b"--X\r\nContent-Type: application/dicom+json\r\n\r\n" + body + b"\r\n--X--\r\n"
            elif "form-data" in kind:
                content = b'--X\r\nContent-Disposition: form-data; name="what"\r\n\r\n' + body + b"\r\n--X--\r\n"
            answer = await gateway.client.request(
                method, filled(path, "1"), data=content, headers={"Content-Type": kind}
            )
            assert answer.status < 500, (method, path, kind, await answer.text())
    assert "Traceback" not in caplog.text
