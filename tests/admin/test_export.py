"""gateway/admin/export.py: folders that people can browse, of segments and of files, and what goes on where it was."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pydicom
import pytest
from typer.testing import CliRunner

from gateway.admin.export import LIST, export
from gateway.cli.main import app
from gateway.cli.nodes import parse_keys
from gateway.config import Settings
from gateway.errors import ConfigurationError, StorageError
from gateway.index.store import Origin
from gateway.ingest.ingest import Ingest
from tests.ingest.test_replay import opened, storage
from tests.support.datasets import CT, EXPLICIT, ct_header, encode

HOSTILE = "../..\\CON: <b>*?"


def settings(path: Path) -> Settings:
    return Settings(storage=storage(path))


async def keep(ingest: Ingest, study: str, number: int, pixels: int = 500, **values: object) -> None:
    uid = f"{study}.1.{number}"
    header = ct_header(
        StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1", SOPInstanceUID=uid, InstanceNumber=number,
        StudyDate="20260102", SeriesNumber=7, PixelData=bytes(pixels), **values,
    )  # fmt: skip
    writer = ingest.begin(
        transfer_syntax_uid=EXPLICIT,
        sop_class_uid=CT,
        sop_instance_uid=uid,
        origin=Origin(calling_aet="CT1", called_aet="GW", peer="10.0.0.1", received_at=5.0, via="dimse"),
    )
    writer.write(encode(header, EXPLICIT), None)
    await writer.commit()


async def fill(path: Path) -> None:
    """Three studies: one with an object in a file of its own, one without a description, one with a hostile one."""
    async with opened(path) as (_, ingest):
        for number in range(1, 4):
            await keep(ingest, "1.2", number, 900_000 if number == 1 else 500, PatientID="P1", PatientName="Doe^Jane")
        await keep(ingest, "1.3", 1, PatientID="P2", PatientName="Roe^Max", StudyDescription="")
        await keep(ingest, "1.4", 1, PatientID="P3", PatientName="Evil", StudyDescription=HOSTILE)


def files(path: Path) -> list[str]:
    return sorted(str(each.relative_to(path)) for each in path.rglob("*") if each.is_file() and each.name != LIST)


async def test_all(tmp_path: Path) -> None:
    await fill(tmp_path / "data")
    out = tmp_path / "out"
    seen: list[tuple[int, int | None]] = []

    def note(done: int, total: int | None) -> None:
        seen.append((done, total))

    report = await export(settings(tmp_path / "data"), out, [{}], progress=note)
    assert (report.studies, report.written, report.present, report.refused) == (3, 5, 0, [])
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert files(out) == [
        "P1 Doe^Jane/20260102 Thorax nativ/7 CT Lunge 1.0/1.dcm",
        "P1 Doe^Jane/20260102 Thorax nativ/7 CT Lunge 1.0/2.dcm",
        "P1 Doe^Jane/20260102 Thorax nativ/7 CT Lunge 1.0/3.dcm",
        "P2 Roe^Max/20260102 unknown/7 CT Lunge 1.0/1.dcm",
        "P3 Evil/20260102 .._.._CON_ _b___/7 CT Lunge 1.0/1.dcm",
    ]
    for path in out.rglob("*.dcm"):
        assert pydicom.dcmread(path).PatientID in ("P1", "P2", "P3")
    assert 900_000 < report.bytes <= sum(path.stat().st_size for path in out.rglob("*.dcm"))


async def test_some(tmp_path: Path) -> None:
    await fill(tmp_path / "data")
    keys = [parse_keys(["PatientName=DOE*"]), parse_keys(["StudyInstanceUID=1.2"]), parse_keys(["PatientID=P2"])]
    report = await export(settings(tmp_path / "data"), tmp_path / "out", keys, name="{PatientID}/{SOPInstanceUID}.dcm")
    assert (report.studies, report.written) == (2, 4), "a study that two conditions match is exported once"
    assert files(tmp_path / "out") == [*[f"P1/1.2.1.{number}.dcm" for number in (1, 2, 3)], "P2/1.3.1.1.dcm"]


async def test_names_that_are_the_same(tmp_path: Path) -> None:
    await fill(tmp_path / "data")
    report = await export(settings(tmp_path / "data"), tmp_path / "out", [{}], name="{Modality}.dcm")
    assert report.written == 5
    assert files(tmp_path / "out") == ["CT.dcm", *[f"CT~{number}.dcm" for number in range(2, 6)]]
    uids = {pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / "out").rglob("*.dcm")}
    assert len(uids) == 5


async def test_one_that_was_broken_off_goes_on(tmp_path: Path) -> None:
    await fill(tmp_path / "data")
    out = tmp_path / "out"

    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await export(settings(tmp_path / "data"), out, [{}], progress=stop)
    first = files(out)
    assert len(first) == 3
    (out / first[0]).unlink()
    report = await export(settings(tmp_path / "data"), out, [{}])
    assert (report.written, report.present) == (3, 2)
    assert len(files(out)) == 5
    again = await export(settings(tmp_path / "data"), out, [{}])
    assert (again.written, again.present) == (0, 5)
    (out / LIST).unlink()
    anew = await export(settings(tmp_path / "data"), out, [{}])
    assert (anew.written, anew.present) == (5, 0), "equal files stand for themselves"
    assert len(files(out)) == 5
    other = await export(settings(tmp_path / "data"), out, [{}], name="{SOPInstanceUID}.dcm")
    assert (other.written, other.present) == (5, 0), "other names are other files"


async def test_while_a_gateway_goes_on(tmp_path: Path) -> None:
    await fill(tmp_path / "data")
    async with opened(tmp_path / "data") as (_, ingest):
        report, _ = await asyncio.gather(
            export(settings(tmp_path / "data"), tmp_path / "out", [{}]), keep(ingest, "1.9", 1, PatientID="P9")
        )
    assert report.written in (5, 6)


async def test_what_cannot_be(tmp_path: Path) -> None:
    await fill(tmp_path / "data")
    with pytest.raises(ConfigurationError, match="not the keyword"):
        await export(settings(tmp_path / "data"), tmp_path / "out", [{}], name="{Nobody}.dcm")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="file"):
        await export(settings(tmp_path / "data"), tmp_path / "file", [{}])
    (tmp_path / "data" / "store").rename(tmp_path / "data" / "gone")
    (tmp_path / "data" / "store").mkdir()
    report = await export(settings(tmp_path / "data"), tmp_path / "out", [{}])
    assert [uid for uid, _ in report.refused] == ["1.2.1.1"], "all but the one in a file of its own"
    assert report.written == 4


def test_the_command(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path / "data"))

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["export", *arguments, "--data", str(tmp_path / "data")])
        return result.exit_code, result.output

    out = str(tmp_path / "out")
    assert run(out)[0] == 2
    assert run(out, "--all", "--study", "1.2")[0] == 2
    assert run(out, "--study", "1.2", "--patient", "P2")[:1] == (0,)
    code, text = run(out, "--all")
    assert (code, "3 studies, 1 file written" in text, "4 files there already" in text) == (0, True, True), text
    assert run(out, "PatientID=NOBODY")[0] == 1
