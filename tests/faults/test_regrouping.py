"""A study is split while the gateway is killed again and again: no instance is ever in neither study."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gateway.dicom.part10 import file_header
from gateway.index.identity import public_id
from tests.interop.test_orthanc_rest import ask
from tests.support.datasets import EXPLICIT, encode, instance
from tests.support.processes import Gateway
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.slow]

COUNT = 60
STUDY, SERIES = "1.2.3", "1.2.3.1"
SOURCE = public_id("P1", STUDY)


def numbers(gateway: Gateway) -> Counter[tuple[bool, int]]:
    """The instances that there are: whether they are in the source, and their numbers."""
    found: Counter[tuple[bool, int]] = Counter()
    for study in ask(gateway.url, "GET", "/studies")[1]:
        for each in ask(gateway.url, "GET", f"/studies/{study}/instances")[1]:
            found[study == SOURCE, int(each["MainDicomTags"]["InstanceNumber"])] += 1
    return found


def upload(gateway: Gateway) -> None:
    for number in range(COUNT):
        one = instance(StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES, SOPInstanceUID=f"{SERIES}.{number}")
        one.InstanceNumber = number
        header = file_header(
            sop_class_uid=one.SOPClassUID, sop_instance_uid=one.SOPInstanceUID, transfer_syntax_uid=EXPLICIT
        )
        assert ask(gateway.url, "POST", "/instances", header + encode(one, EXPLICIT))[0] == 200


@pytest.mark.timeout(240)
def test_a_split_that_is_killed(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "data", environment={"GATEWAY_DICOMWEB__DELETE": "true"})
    ids = [public_id("P1", STUDY, SERIES, f"{SERIES}.{number}") for number in range(COUNT)]
    with gateway:
        upload(gateway)
        body: dict[str, Any] = {"Instances": ids, "Asynchronous": True}
        status, answer = ask(gateway.url, "POST", f"/studies/{SOURCE}/split", body)
        assert status == 200, answer
        states = []
        for stored, remaining in ((4, COUNT), (30, COUNT), (COUNT, COUNT - 1), (COUNT, COUNT // 2)):
            wait_until(
                lambda least=stored, most=remaining: counts(gateway)[0] >= least and counts(gateway)[1] <= most,  # type: ignore[misc]
                60,
                f"never {stored} instances stored and {remaining} left",
            )
            gateway.kill()
            gateway.start()
            present = numbers(gateway)
            assert {number for _, number in present} == set(range(COUNT))
            assert max(present.values()) == 1, "an instance is stored twice"
            states.append(ask(gateway.url, "GET", answer["Path"])[1]["State"])
        assert "Success" not in states[:2], "no kill came in time"
        wait_until(lambda: ask(gateway.url, "GET", answer["Path"])[1]["State"] in ("Success", "Failure"), 60, "no end")
        job = ask(gateway.url, "GET", answer["Path"])[1]
        assert job["State"] == "Success", job
        assert numbers(gateway) == Counter({(False, number): 1 for number in range(COUNT)})


def counts(gateway: Gateway) -> tuple[int, int]:
    """How many instances the new study has, and the source."""
    found = numbers(gateway)
    in_source = sum(count for (where, _number), count in found.items() if where)
    return found.total() - in_source, in_source
