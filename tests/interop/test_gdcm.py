"""GDCM's gdcmscu, another implementation of the upper layer, against the gateway as its own process.

Not its C-MOVE: it asks before it listens for what it has asked for, takes the first transfer syntax proposed, and then
reads Implicit VR whatever that was.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.support import peers
from tests.support.datasets import read_sample, sample
from tests.support.processes import Gateway
from tests.support.waiting import wait_until

pytestmark = pytest.mark.interop

CT, PLAN = "CT_small.dcm", "rtplan.dcm"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gdcm")
    with Gateway(folder / "data") as gateway:
        for name in (CT, PLAN):
            gdcmscu(gateway, "--store", files=[str(sample(name))])
        wait_until(lambda: gateway.log.count("GDCMSCU@127.0.0.1 released") == 2, 5)
        yield gateway


def gdcmscu(gateway: Gateway, *options: str, files: list[str] | None = None) -> str:
    """What it says. Debian's 3.0.21 is aborted by an exception of its own behind every release, whoever serves it."""
    command = ["stdbuf", "-o0", peers.need("gdcmscu"), *options, "--call", gateway.aet, gateway.host, str(gateway.port)]
    done = subprocess.run([*command, *(files or [])], capture_output=True, timeout=30, check=False)
    said = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == 0 or "ProtocolStream as nullptr is invalid" in said, said
    return said


def test_echo(gateway: Gateway) -> None:
    before = gateway.log.count("GDCMSCU@127.0.0.1 released")
    gdcmscu(gateway, "--echo")
    wait_until(lambda: gateway.log.count("GDCMSCU@127.0.0.1 released") == before + 1, 5)


def test_what_it_stored(gateway: Gateway) -> None:
    for name in (CT, PLAN):
        code, _ = gateway.get(f"/dicom-web/studies/{read_sample(sample(name)).StudyInstanceUID}/metadata")
        assert code == 200


@pytest.mark.parametrize("level", ["patient", "study", "series", "image"])
def test_find(gateway: Gateway, level: str) -> None:
    """It would show what it has found behind the release, so the gateway has to say."""
    data_set = read_sample(sample(CT))
    keys = {"20,d": data_set.StudyInstanceUID, "20,e": data_set.SeriesInstanceUID, "8,18": data_set.SOPInstanceUID}
    named = (
        [
            text
            for tag, uid in list(keys.items())[: ("study", "series", "image").index(level) + 1]
            for text in ("--key", f"{tag}={uid}")
        ]
        if level != "patient"
        else ["--key", "10,10=comp*CT*"]
    )
    root = "--patientroot" if level == "patient" else "--studyroot"
    answer = f"a query at level {level.upper()} found 1"
    before = gateway.log.count(answer)
    gdcmscu(gateway, "--find", root, f"--{level}", *named)
    wait_until(lambda: gateway.log.count(answer) == before + 1, 5)
