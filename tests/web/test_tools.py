"""/tools, /plugins and /system: what clients of Orthanc ask first."""

from __future__ import annotations

import re

from tests.support.web import House


async def test_what_there_is(gateway: House) -> None:
    assert {"find", "lookup", "now", "generate-uid", "labels"} <= set(await gateway.json("/tools"))


async def test_the_time(gateway: House) -> None:
    for name in ("now", "now-local"):
        assert re.fullmatch(r"\d{8}T\d{6}", await (await gateway.get(f"/tools/{name}")).text())


async def test_new_identifiers(gateway: House) -> None:
    for level in ("study", "series", "instance", "Instance"):
        uid = await (await gateway.get(f"/tools/generate-uid?level={level}")).text()
        assert re.fullmatch(r"2\.25\.[1-9]\d{0,38}", uid)
        assert uid != await (await gateway.get(f"/tools/generate-uid?level={level}")).text()
    assert len(await (await gateway.get("/tools/generate-uid?level=patient")).text()) == 36
    for query in ("", "?level=foo"):
        assert (await gateway.get(f"/tools/generate-uid{query}")).status == 404


async def test_what_is_accepted(gateway: House) -> None:
    assert await (await gateway.get("/tools/default-encoding")).text() == "Latin1"
    assert await (await gateway.get("/tools/unknown-sop-class-accepted")).text() == "0"
    assert await gateway.json("/tools/accepted-transfer-syntaxes") == []  # there is no DICOM beside it here
    assert await gateway.json("/tools/accepted-sop-classes") == []
    assert (await gateway.get("/tools/dicom-conformance")).status == 200


async def test_plugins_whose_work_is_built_in(gateway: House) -> None:
    assert await gateway.json("/plugins") == ["dicom-web", "pixels-masker", "worklists"]
    assert (await gateway.json("/plugins/dicom-web"))["ID"] == "dicom-web"
    assert (await gateway.get("/plugins/lua")).status == 404


async def test_what_clients_branch_on(gateway: House) -> None:
    system = await gateway.json("/system")
    assert system["Capabilities"]["HasExtendedFind"]
    assert system["HasLabels"]
    assert system["MainDicomTags"]["Patient"].startswith("0010,0010;0010,0020")
    assert re.fullmatch(r"\d+\.\d+\.\d+", system["Version"])
    assert (system["OverwriteInstances"], system["OverwriteInstancesMode"]) == (False, "Never")
