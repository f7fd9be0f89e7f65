"""A gateway's process with its index in PostgreSQL: what comes is found, served and sent on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import requests

from tests.scp.test_worklist import item
from tests.support import peers
from tests.support.datasets import read_sample, sample
from tests.support.processes import Gateway
from tests.support.waiting import wait_until

pytestmark = pytest.mark.interop

FILES = ("CT_small.dcm", "MR_small.dcm")
RULES = """
[destinations.nas]
kind = "folder"
path = "{folder}"

[rules.everything]
destinations = ["nas"]

[audit]
enabled = true
"""


@pytest.fixture
def gateway(tmp_path: Path, postgres_url: str) -> Gateway:
    folder = tmp_path / "nas"
    folder.mkdir()
    (tmp_path / "gateway.toml").write_text(RULES.format(folder=folder))
    return Gateway(
        tmp_path / "data",
        *("--config", str(tmp_path / "gateway.toml")),
        environment={"GATEWAY_DATABASE__URL": postgres_url, "GATEWAY_DICOMWEB__DELETE": "true"},
    )


def run(gateway: Gateway, program: str, *arguments: str) -> str:
    command = [peers.need(program), "-aec", gateway.aet, "127.0.0.1", str(gateway.port), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


async def test_an_archive(tmp_path: Path, gateway: Gateway) -> None:
    with gateway, requests.Session() as http:
        run(gateway, "storescu", *(str(sample(name)) for name in FILES))
        stow = sample("rtplan.dcm").read_bytes()
        assert http.post(f"{gateway.url}/instances", data=stow, timeout=30).ok
        base = f"{gateway.url}/dicom-web"
        studies = http.get(f"{base}/studies", params={"ModalitiesInStudy": "CT"}, timeout=30).json()
        assert [each["00100020"]["Value"] for each in studies] == [["1CT1"]]
        keys = [word for key in ("QueryRetrieveLevel=STUDY", "PatientID=4MR*", "StudyDate") for word in ("-k", key)]
        found = run(gateway, "findscu", "-S", *keys)
        assert "20040826" in found
        study_uid = studies[0]["0020000D"]["Value"][0]
        (instance,) = http.get(f"{base}/studies/{study_uid}/instances", timeout=30).json()
        path = f"{base}/studies/{study_uid}/series/{instance['0020000E']['Value'][0]}"
        file = http.get(
            f"{path}/instances/{instance['00080018']['Value'][0]}",
            headers={"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'},
            timeout=30,
        )
        assert read_sample(sample("CT_small.dcm")).PixelData in file.content
        wait_until(lambda: len(list((tmp_path / "nas").rglob("*.dcm"))) == 3, 30, "three instances are sent on")
        assert http.post(f"{gateway.url}/worklists/create", json=item().to_json_dict(), timeout=30).ok
        assert len(http.get(f"{gateway.url}/worklists", timeout=30).json()) == 1

        gateway.kill()
        gateway.start()
        base = f"{gateway.url}/dicom-web"
        assert len(http.get(f"{base}/studies", timeout=30).json()) == 3
        (study,) = http.post(
            f"{gateway.url}/tools/find", json={"Level": "Study", "Query": {"PatientID": "1CT1"}}, timeout=30
        ).json()
        assert http.delete(f"{gateway.url}/studies/{study}", timeout=30).ok
        assert len(http.get(f"{base}/studies", timeout=30).json()) == 2
        entries = http.get(f"{gateway.url}/auth/audit-logs", timeout=30).json()
        assert any("delet" in str(entry).lower() for entry in entries)


async def test_the_folder_and_the_database_belong_together(tmp_path: Path, gateway: Gateway) -> None:
    with gateway:
        pass
    for data, environment, reason in (
        (gateway.data, {}, "the index of this data folder is in PostgreSQL; name it with database.url"),
        (tmp_path / "other", gateway.environment, "is the index of another data folder than"),
    ):
        other = Gateway(data, environment=environment)
        with pytest.raises(Exception, match="did not come up"):
            other.start()
        assert reason in other.log
