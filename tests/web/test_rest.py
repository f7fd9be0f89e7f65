"""gateway/web/rest and health.py: the shapes that Orthanc's clients read."""

from __future__ import annotations

import pydicom

from gateway.net.session import AssociationStatus
from tests.support.index import data_set
from tests.support.web import House


async def test_system(gateway: House):
    system = await gateway.json("/system")
    assert (system["DicomAet"], system["DicomPort"], system["HttpPort"]) == ("GATEWAY", 4242, 8042)
    assert system["ApiVersion"] >= 16
    later = (
        *("Capabilities", "DicomDefaultRetrieveMethod", "HasLabels", "IngestTranscoding", "MainDicomTags"),
        *("MaximumPatientCount", "MaximumStorageMode", "MaximumStorageSize", "OverwriteInstances"),
        *("OverwriteInstancesMode", "PatientLevelEnabled", "Performance", "ReadOnly", "StorageCompression"),
        *("StoreMD5ForAttachments", "ThirdPartyPatches", "ThirdPartyVersions", "UserMetadata"),
    )
    assert system.keys() >= set(later)
    assert system["ThirdPartyVersions"]["pydicom"] == pydicom.__version__


async def test_statistics(gateway: House):
    sizes = [len((await gateway.add(data_set("1.1")))[1]) for _ in range(2)]
    statistics = await gateway.json("/statistics")
    assert (statistics["CountInstances"], statistics["CountStudies"]) == (2, 1)
    assert statistics["TotalDiskSize"] == str(sum(sizes))


async def test_changes(gateway: House):
    assert await gateway.json("/changes") == {"Changes": [], "Done": True, "Last": 0}
    assert await gateway.json("/changes?last") == {"Changes": [], "Done": True, "Last": 0}
    await gateway.add(data_set("1.1"))
    everything = await gateway.json("/changes")
    assert everything["Done"]
    assert [each["Seq"] for each in everything["Changes"]] == [1, 2, 3, 4]
    instance = next(each for each in everything["Changes"] if each["ResourceType"] == "Instance")
    assert instance["ChangeType"] == "NewInstance"
    assert instance["Path"] == f"/instances/{instance['ID']}"
    assert len(instance["Date"]) == len("20260102T030405")
    first = await gateway.json("/changes?limit=3")
    assert (first["Done"], first["Last"]) == (False, 3)
    assert [each["Seq"] for each in (await gateway.json("/changes?since=3&limit=9"))["Changes"]] == [4]
    assert [each["Seq"] for each in (await gateway.json("/changes?last"))["Changes"]] == [4]
    assert await gateway.json("/changes?since=4") == {"Changes": [], "Done": True, "Last": 4}
    assert len((await gateway.json("/changes?limit=x&since=y"))["Changes"]) == 4
    assert (await gateway.json("/changes?since=100"))["Last"] == 4


async def test_changes_of_some_kinds_and_backwards(gateway: House):
    for study in ("1.1", "1.2", "1.3"):
        await gateway.add(data_set(study))
    everything = (await gateway.json("/changes"))["Changes"]
    studies = [each["Seq"] for each in everything if each["ChangeType"] == "NewStudy"]
    some = await gateway.json("/changes?type=NewStudy;NewSeries&limit=4")
    assert {each["ChangeType"] for each in some["Changes"]} == {"NewStudy", "NewSeries"}
    assert not some["Done"]
    last = await gateway.json(f"/changes?type=NewStudy&to={studies[2]}&limit=2")
    assert ([each["Seq"] for each in last["Changes"]], last["Done"]) == (studies[1:], False)
    assert (last["First"], last["Last"]) == (studies[1], studies[2])
    before = await gateway.json(f"/changes?type=NewStudy&to={last['First'] - 1}&limit=2")
    assert ([each["Seq"] for each in before["Changes"]], before["Done"]) == (studies[:1], True)
    between = await gateway.json(f"/changes?since={studies[0]}&to={studies[1]}&type=NewStudy")
    assert [each["Seq"] for each in between["Changes"]] == [studies[1]]
    assert [each["Seq"] for each in (await gateway.json("/changes?last&type=NewStudy"))["Changes"]] == studies[2:]
    assert (await gateway.json("/changes?type=all"))["Changes"] == everything
    assert len((await gateway.json("/changes?type=NewInstance"))["Changes"]) == 3
    answer = await gateway.get("/changes?type=Nonsense")
    assert answer.status == 400
    assert "StableStudy" in (await answer.json())["Details"]


async def test_the_change_log_is_not_cleared(gateway: House):
    answer = await gateway.client.delete("/changes")
    assert answer.status == 403
    assert "not cleared" in (await answer.json())["Details"]


async def test_metadata_that_change_are_changes(gateway: House):
    await gateway.add(data_set("1.1"))
    for kind in ("patients", "studies", "series", "instances"):
        (public_id,) = await gateway.json(f"/{kind}")
        for ask in (gateway.client.put, gateway.client.delete):
            assert (await ask(f"/{kind}/{public_id}/metadata/1024")).status == 200
        found = (await gateway.json("/changes?type=UpdatedMetadata"))["Changes"][-2:]
        assert [each["Path"] for each in found] == [f"/{kind}/{public_id}"] * 2


async def test_associations(gateway: House):
    assert await gateway.json("/associations") == []
    gateway.associations = [AssociationStatus(7, "CT1", "GATEWAY", "10.1.2.3", 1000.0, "Sta6", 3, 99)]
    (found,) = await gateway.json("/associations")
    assert (found["CallingAet"], found["Instances"], found["Since"]) == ("CT1", 3, 1000.0)


async def test_ready_or_why_not(gateway: House):
    assert await (await gateway.get("/livez")).text() == "alive\n"
    assert (await gateway.get("/readyz")).status == 200
    gateway.reasons = ["the disk is full"]
    answer = await gateway.get("/readyz")
    assert (answer.status, await answer.text()) == (503, "not ready\nthe disk is full\n")


async def test_metrics(gateway: House):
    answer = await gateway.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert "gateway_intake_sync_seconds_bucket" in await answer.text()
