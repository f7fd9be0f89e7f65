"""Files in a folder: names that lead nowhere else, files that are whole, and those that are there already."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigurationError
from gateway.remote.destination import Destination, DestinationUnavailable
from gateway.remote.kinds import open_destination
from gateway.remote.template import Template
from tests.contracts.destinations import item, settings_of

SOP = "1.2.3.4.5"


def folder(path: Path, name: str = "{PatientID}/{SOPInstanceUID}.dcm") -> Destination:
    settings = settings_of(kind="folder", path=str(path), name=name)
    return open_destination("it", settings.destinations["it"], lambda: settings)


def files(path: Path) -> list[str]:
    return sorted(str(each.relative_to(path)) for each in path.rglob("*") if each.is_file())


async def test_names_are_made_of_attributes(tmp_path: Path) -> None:
    destination = folder(tmp_path, "{Modality}/{PatientName}/{SOPInstanceUID}.dcm")
    answer = await destination.send(item(SOP, PatientName="Müller^Eva", SpecificCharacterSet="ISO_IR 192"))
    assert answer.outcome == "delivered"
    assert files(tmp_path) == [answer.detail]
    assert answer.detail.endswith(f"/Müller^Eva/{SOP}.dcm")


@pytest.mark.parametrize("patient", ["../../../x", "/etc", "..", "a/../../b", "", "con", ".hidden", "x" * 64])
async def test_no_text_of_a_peer_leads_out(tmp_path: Path, patient: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    assert (await folder(inside).send(item(SOP, PatientID=patient))).outcome == "delivered"
    (name,) = files(tmp_path)
    assert name.startswith("inside/")
    assert name.count("/") == 2


@given(st.text(max_size=300))
def test_any_text_becomes_a_name(text: str) -> None:
    *folders, name = Template.parse("it", "{PatientID}/a{PatientName}b.dcm").path(
        {"PatientID": text, "PatientName": text}
    )
    for part in (*folders, name):
        assert part not in ("", ".", "..")
        assert not set(part) & set('/\\\0:*?"<>|')
        assert len(part.encode()) <= 255
        assert not part.startswith(".")
        assert part == part.strip().rstrip(".")


@pytest.mark.parametrize(
    "name", ["../{PatientID}", "/{PatientID}", "{Patient}", "{PatientID", "a//b", "", ".x", "{PatientID}/"]
)
def test_templates_that_make_no_sense(name: str) -> None:
    with pytest.raises(ConfigurationError, match="it"):
        Template.parse("it", name)


async def test_other_bytes_under_a_name_that_is_taken_get_one_of_their_own(tmp_path: Path) -> None:
    destination = folder(tmp_path)
    for rows in (16, 8, 8):
        await destination.send(item(SOP, PatientID="P", rows=rows))
    assert files(tmp_path) == [f"P/{SOP}.dcm", f"P/{SOP}~2.dcm"]
    assert await destination.has([("1.2.3", "1.2.3.4", SOP), ("1.2.3", "1.2.3.4", "1.2.3.4")]) == {SOP}


async def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    await test_other_bytes_under_a_name_that_is_taken_get_one_of_their_own(tmp_path)


async def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    destination = folder(tmp_path / "mount")
    with pytest.raises(DestinationUnavailable, match="is it mounted"):
        await destination.send(item(SOP))
    with pytest.raises(DestinationUnavailable):
        await destination.has([("1", "2", "3")])
    assert not (tmp_path / "mount").exists()


async def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    destination = folder(tmp_path)

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(DestinationUnavailable, match="no space left"):
        await destination.send(item(SOP))
    assert files(tmp_path) == []


@pytest.mark.case("broken 07 temporary files of a killed gateway go, those of a living one stay")
async def test_what_a_killed_gateway_has_left_goes(tmp_path: Path) -> None:
    dead, empty, living, foreign = (tmp_path / f".{name * 32}.part" for name in ("0", "2", "1", "x"))
    for path in (dead, empty, living, foreign):
        path.write_bytes(b"" if path == empty else b"half")
    descriptor = os.open(living, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert (await folder(tmp_path).send(item(SOP))).outcome == "delivered"
    finally:
        os.close(descriptor)
    assert not dead.exists()
    assert not empty.exists()
    assert living.exists()
    assert foreign.exists()


@pytest.mark.case("broken 01 an empty temporary file of a killed gateway goes, and a new one is not taken for it")
async def test_a_file_that_is_swept_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, swept = fcntl.flock, 0

    def sweeping(descriptor: int, operation: int) -> None:
        nonlocal swept
        if swept < 2:
            swept += 1
            for path in tmp_path.glob(".*.part"):
                path.unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", sweeping)
    assert (await folder(tmp_path).send(item(SOP))).outcome == "delivered"
    assert swept == 2
    assert len(files(tmp_path)) == 1
