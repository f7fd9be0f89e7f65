"""Studies are modified while the gateway is killed again and again: every instance is there, once, and changed."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from gateway.index.identity import public_id
from tests.interop.test_orthanc_rest import ask
from tests.support.processes import Gateway
from tests.support.remote import file_of
from tests.support.waiting import wait_until
from tests.web.test_archives import one

pytestmark = [pytest.mark.faults, pytest.mark.slow]

COUNT = 60
STUDY = public_id("P1", "1.2.1")
KEPT = {"Keep": ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"], "Force": True}
NEW = {"Replace": {"StudyDescription": "new"}, "KeepSource": False, "Asynchronous": True}


def numbers(gateway: Gateway) -> set[int]:
    found = ask(gateway.url, "GET", "/instances?expand")[1]
    return {int(each["MainDicomTags"]["InstanceNumber"]) for each in found}


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"/studies/{STUDY}/modify", NEW),
        (f"/studies/{STUDY}/modify", {**NEW, **KEPT}),
        ("/tools/bulk-anonymize", {**NEW, "Resources": [STUDY]}),
    ],
    ids=["others", "in place", "several"],
)
def test_a_modification_that_is_killed(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    with Gateway(tmp_path / "data", environment={"GATEWAY_DICOMWEB__DELETE": "true"}) as gateway:
        for number in range(COUNT):
            assert ask(gateway.url, "POST", "/instances", file_of(one(number)))[0] == 200
        status, job = ask(gateway.url, "POST", path, body)
        assert status == 200, job
        states = []
        for changed in (1, COUNT // 2, COUNT):
            wait_until(lambda least=changed: changes(gateway) >= COUNT + least, 60, "nothing is stored")  # type: ignore[misc]
            gateway.kill()
            gateway.start()
            assert numbers(gateway) == set(range(COUNT))
            states.append(ask(gateway.url, "GET", job["Path"])[1]["State"])
        assert "Success" not in states[:1], "no kill came in time"
        wait_until(lambda: ask(gateway.url, "GET", job["Path"])[1]["State"] in ("Success", "Failure"), 60, "no end")
        assert ask(gateway.url, "GET", job["Path"])[1]["State"] == "Success"
        assert numbers(gateway) == set(range(COUNT))
        assert ask(gateway.url, "GET", "/statistics")[1]["CountInstances"] == COUNT
        (study,) = ask(gateway.url, "GET", "/studies?expand")[1]
        assert study["MainDicomTags"]["StudyDescription"] == "new"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("duplicates", ["keep", "overwrite", "reject"])
def test_a_kill_while_sources_are_deleted(tmp_path: Path, duplicates: str) -> None:
    """Each study refers to the one before. References to sources that are gone already still lead to their copies."""
    environment = {"GATEWAY_DICOMWEB__DELETE": "true", "GATEWAY_STORAGE__DUPLICATES": duplicates}
    with Gateway(tmp_path / "data", environment=environment) as gateway:
        for number in range(COUNT):
            assert ask(gateway.url, "POST", "/instances", file_of(referring(number)))[0] == 200
        sources = [public_id("P1", f"1.2.{number}") for number in range(1, COUNT + 1)]
        status, job = ask(gateway.url, "POST", "/tools/bulk-modify", {**NEW, "Level": "Study", "Resources": sources})
        assert status == 200, job
        wait_until(lambda: 0 < remaining(gateway, sources) < COUNT, 60, "nothing is deleted")
        gateway.kill()
        assert 0 < remaining(gateway, sources) < COUNT, "the kill came late"
        gateway.start()
        wait_until(lambda: ask(gateway.url, "GET", job["Path"])[1]["State"] in ("Success", "Failure"), 60, "no end")
        found = ask(gateway.url, "GET", job["Path"])[1]
        assert (found["State"], found["Content"]["FailedInstancesCount"]) == ("Success", 0), found
        assert remaining(gateway, sources) == 0
        assert numbers(gateway) == set(range(COUNT))
        stored = ask(gateway.url, "GET", "/instances")[1]
        tags = [ask(gateway.url, "GET", f"/instances/{each}/simplified-tags")[1] for each in stored]
        uids = {int(each["InstanceNumber"]): each["SOPInstanceUID"] for each in tags}
        for each in tags:
            (reference,) = each["ReferencedImageSequence"]
            assert reference["ReferencedSOPInstanceUID"] == uids[(int(each["InstanceNumber"]) - 1) % COUNT]


def referring(number: int) -> Dataset:
    """An instance of a study of its own, which refers to that of the number before."""
    made = one(number, study=str(number + 1))
    before = one((number - 1) % COUNT, study=str((number - 1) % COUNT + 1))
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = before.SOPClassUID, before.SOPInstanceUID
    made.ReferencedImageSequence = [reference]
    return made


def remaining(gateway: Gateway, sources: list[str]) -> int:
    """How many of the sources are still there; read from the file, which is quicker than any request."""
    marks = ", ".join("?" * len(sources))
    with contextlib.closing(sqlite3.connect(gateway.data / "database.sqlite")) as connection:
        ((count,),) = connection.execute(f"SELECT COUNT(*) FROM studies WHERE public_id IN ({marks})", sources)
    return int(count)


def changes(gateway: Gateway) -> int:
    """How many instances were stored or replaced until now."""
    found = ask(gateway.url, "GET", "/changes?limit=100000")[1]["Changes"]
    return sum(each["ChangeType"] in ("NewInstance", "UpdatedAttachment") for each in found)
