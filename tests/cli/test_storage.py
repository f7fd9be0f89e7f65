"""`dicom-gateway storage`: what people do with a segment when there is nothing else left."""

from __future__ import annotations

import asyncio
import json
import zlib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway import config
from gateway.cli.main import app
from gateway.ingest.data_folder import open_folder, open_ingest
from tests.ingest.test_replay import store


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two instances in one segment."""
    folder = tmp_path / "data"

    async def fill() -> None:
        async with (
            asyncio.timeout(30),
            open_folder(config.Storage(path=str(folder), min_free=0, keepers=0)) as opened,
            open_ingest(opened) as ingest,
        ):
            for number in (1, 2):
                await store(ingest, number)

    asyncio.run(fill())
    return folder


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["storage", *map(str, arguments)], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return 1, f"{type(result.exception).__name__}: {result.exception}"
    return result.exit_code, result.output


def segment(data: Path) -> Path:
    (found,) = (data / "segments").iterdir()
    return found


def test_list(data: Path) -> None:
    code, output = run("list", "--data", data)
    assert code == 0
    assert output.count('"calling_aet":"CT1"') == 2
    assert run("list", segment(data))[1] == output
    items = json.loads(run("list", "--data", data, "--json")[1])
    assert [item["key"] for item in items] == [f"{segment(data).name}-{block}" for block in ("00001", "00004")]
    assert all(item["size"] > 5000 for item in items)


def test_check(data: Path) -> None:
    code, output = run("check", "--data", data)
    assert (code, "2 objects whole" in output) == (0, True)
    with segment(data).open("r+b") as file:
        file.seek(4096 + 3000)
        file.write(b"\xff\x00\xff")
    code, output = run("check", "--data", data)
    assert code == 1
    assert f"damaged: {segment(data)} from 4096 to 16384" in output
    report = json.loads(run("check", "--data", data, "--json")[1].split("dicom-gateway:")[0])
    assert (report["objects"], len(report["damaged"])) == (1, 1)


def test_extract(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("extract", segment(data), out) == (0, f"{out}: 2 files\n")
    names = sorted(file.name for file in out.iterdir())
    assert all((out / name).read_bytes()[128:132] == b"DICM" for name in names)
    code, output = run("extract", segment(data), out)
    assert (code, "File exists" in output) == (1, True)
    one = tmp_path / "one"
    key = names[1].removesuffix(".dcm")
    assert run("extract", segment(data), one, "--key", key) == (0, f"{one}: 1 file\n")
    assert [file.name for file in one.iterdir()] == [names[1]]
    code, output = run("extract", segment(data), one, "--key", key[:-1] + "9")
    assert (code, "holds no object" in output) == (1, True)


def test_what_is_no_segment(data: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    assert "no segment here" in run("list", tmp_path / "notes.txt")[1]
    renamed = tmp_path / "01ABCDEFGHJKMNPQ"
    segment(data).rename(renamed)
    code, output = run("check", renamed)
    assert (code, "no segment, or was renamed" in output) == (1, True)
    assert "no data folder here" in run("check", "--data", tmp_path / "nowhere")[1]


def test_the_standard_library_is_enough(data: Path) -> None:
    """The format as the head of frame.py draws it, read with nothing of ours."""
    found = segment(data).read_bytes()
    assert found[:8] == b"\x89DGSEG\r\n"
    at, objects = 4096, []
    while at < len(found):
        assert found[at : at + 4] == b"DGF\n"
        notes = int.from_bytes(found[at + 8 : at + 12], "little")
        length = int.from_bytes(found[at + 36 : at + 44], "little")
        body = found[at + 68 : at + 68 + notes + length]
        assert zlib.crc32(body) == int.from_bytes(found[at + 60 : at + 64], "little")
        assert json.loads(body[:notes])["via"] == "dimse"
        objects.append(body[notes:])
        at += -(-(68 + notes + length) // 4096) * 4096
    assert [each[128:132] for each in objects] == [b"DICM"] * 2
