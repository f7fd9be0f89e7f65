"""Metadata with revisions, labels and the protection of patients over REST."""

from __future__ import annotations

import hashlib

import pytest

from gateway.index import annotations
from tests.support.index import data_set
from tests.support.web import House, archive

LEVELS = ("patients", "studies", "series", "instances")


@pytest.fixture
async def study(gateway: House) -> str:
    """The path of the study of one instance."""
    await gateway.add(data_set(InstanceNumber=7))
    return f"/studies/{(await gateway.json('/studies'))[0]}"


def tag(revision: int, value: str) -> str:
    return f'"{revision}-{hashlib.md5(value.encode()).hexdigest()}"'


class TestMetadata:
    async def test_what_a_resource_has_by_itself(self, gateway: House, study: str) -> None:
        assert await gateway.json(f"{study}/metadata") == ["LastUpdate"]
        assert await gateway.json(f"{study}/metadata?expand&numeric") == {"7": "19700101T001640"}
        (instance,) = await gateway.json("/instances")
        assert await gateway.json(f"/instances/{instance}/metadata?expand") == {
            "CalledAET": "GATEWAY",
            "IndexInSeries": "7",
            "Origin": "DicomProtocol",
            "ReceptionDate": "19700101T001640",
            "RemoteAET": "SENDER",
            "RemoteIP": "10.0.0.1",
            "SopClassUid": "1.2.840.10008.5.1.4.1.1.2",
            "TransferSyntax": "1.2.840.10008.1.2.1",
        }
        (series,) = await gateway.json("/series")
        assert await (await gateway.get(f"/series/{series}/metadata/RemoteAET")).text() == "SENDER"
        assert await (await gateway.get(f"/series/{series}/metadata/3")).text() == "SENDER"

    @pytest.mark.parametrize("name", ["1024", "65535", "note", "Dept.Note-2_b"])
    async def test_it_is_added_set_anew_and_taken_away(self, gateway: House, study: str, name: str) -> None:
        path = f"{study}/metadata/{name}"
        assert (await gateway.get(path)).status == 404
        answer = await gateway.client.put(path, data="grün".encode())
        assert (answer.status, answer.headers["ETag"]) == (200, tag(0, "grün"))
        answer = await gateway.client.put(path, data=b"red")
        assert answer.headers["ETag"] == tag(1, "red")
        answer = await gateway.get(path)
        assert (await answer.text(), answer.headers["ETag"], answer.content_type) == (
            "red",
            tag(1, "red"),
            "text/plain",
        )
        assert (await gateway.get(path, if_none_match=tag(1, "red"))).status == 304
        assert (await gateway.json(f"{study}/metadata?expand"))[name] == "red"
        assert (await gateway.client.delete(path)).status == 200
        assert (await gateway.client.delete(path)).status == 404
        assert (await gateway.get(path)).status == 404

    async def test_only_what_has_not_been_changed_meanwhile(self, gateway: House, study: str) -> None:
        path = f"{study}/metadata/note"
        assert (await gateway.client.put(path, data=b"a", headers={"If-Match": tag(0, "a")})).status == 404
        await gateway.client.put(path, data=b"a")
        assert (await gateway.client.put(path, data=b"b", headers={"If-Match": tag(0, "a")})).status == 200
        for method in ("PUT", "DELETE"):
            answer = await gateway.client.request(method, path, data=b"c", headers={"If-Match": tag(0, "a")})
            assert (answer.status, (await answer.json())["OrthancStatus"]) == (409, 43)
        assert await (await gateway.get(path)).text() == "b"
        assert (await gateway.client.delete(path, headers={"If-Match": tag(1, "b")})).status == 200

    @pytest.mark.parametrize("name", ["LastUpdate", "AnonymizedFrom", "7", "1023", "65536", "9" * 30, "a b", "ä", "-x"])
    async def test_names_that_are_not_the_users(self, gateway: House, study: str, name: str) -> None:
        assert (await gateway.client.put(f"{study}/metadata/{name}", data=b"x")).status == 403
        assert (await gateway.client.delete(f"{study}/metadata/{name}")).status == 403

    @pytest.mark.parametrize("value", [b"\xff", b"a\0b", b"x" * 11])
    async def test_values_that_are_not_taken(
        self, gateway: House, study: str, value: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(annotations, "MAX_METADATA_BYTES", 10)
        assert (await gateway.client.put(f"{study}/metadata/note", data=value)).status == 400

    async def test_it_is_bounded(self, gateway: House, study: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(annotations, "MAX_METADATA", 1)
        assert (await gateway.client.put(f"{study}/metadata/1024", data=b"x")).status == 200
        assert (await gateway.client.put(f"{study}/metadata/1025", data=b"x")).status == 400
        assert (await gateway.client.put(f"{study}/metadata/1024", data=b"y")).status == 200

    @pytest.mark.parametrize("level", LEVELS)
    async def test_of_what_is_not_there(self, gateway: House, level: str) -> None:
        assert (await gateway.client.put(f"/{level}/0-0/metadata/note", data=b"x")).status == 404
        assert (await gateway.client.delete(f"/{level}/0-0/metadata/note")).status == 404


class TestLabels:
    @pytest.mark.parametrize("level", LEVELS)
    async def test_they_are_put_shown_and_taken_away(self, gateway: House, study: str, level: str) -> None:
        path = f"/{level}/{(await gateway.json(f'/{level}'))[0]}"
        for label in ("b", "A-1_x", "b"):
            assert (await gateway.client.put(f"{path}/labels/{label}")).status == 200
        assert await gateway.json(f"{path}/labels") == ["A-1_x", "b"]
        assert (await gateway.json(path))["Labels"] == ["A-1_x", "b"]
        assert await gateway.json("/tools/labels") == ["A-1_x", "b"]
        assert (await gateway.get(f"{path}/labels/b")).status == 200
        assert (await gateway.client.delete(f"{path}/labels/b")).status == 200
        assert (await gateway.client.delete(f"{path}/labels/b")).status == 200
        assert (await gateway.get(f"{path}/labels/b")).status == 404
        assert await gateway.json("/tools/labels") == ["A-1_x"]

    @pytest.mark.parametrize("label", ["a b", "ä", "x" * 65, "a.b"])
    async def test_labels_that_are_none(self, gateway: House, study: str, label: str) -> None:
        assert (await gateway.client.put(f"{study}/labels/{label}")).status == 400

    async def test_they_are_bounded(self, gateway: House, study: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(annotations, "MAX_LABELS", 1)
        assert (await gateway.client.put(f"{study}/labels/a")).status == 200
        assert (await gateway.client.put(f"{study}/labels/b")).status == 400

    async def test_of_those_that_may_be_given(self, gateway: House, study: str) -> None:
        """Where the roles over REST name available labels; without any, every label may be given."""
        assert (await gateway.client.put(f"{study}/labels/old")).status == 200

        async def offer(*labels: str) -> None:
            answer = await gateway.client.put("/auth/settings/roles", json={"roles": {}, "available-labels": labels})
            assert (await answer.json())["available-labels"] == sorted(labels)

        await offer("teach", "trial")
        answer = await gateway.client.put(f"{study}/labels/misspelt")
        assert (answer.status, "teach, trial" in (await answer.json())["Details"]) == (403, True)
        for label in ("teach", "old"):  # It has the other one, which is put again.
            assert (await gateway.client.put(f"{study}/labels/{label}")).status == 200
        assert (await gateway.client.delete(f"{study}/labels/old")).status == 200
        assert (await gateway.client.put(f"{study}/labels/old")).status == 403
        assert await gateway.json(f"{study}/labels") == ["teach"]
        await offer()
        assert (await gateway.client.put(f"{study}/labels/old")).status == 200

    async def test_of_what_is_not_there(self, gateway: House) -> None:
        assert (await gateway.client.put("/studies/0-0/labels/a")).status == 404
        assert (await gateway.client.delete("/studies/0-0/labels/a")).status == 404


async def test_a_patient_is_protected_and_no_longer(gateway: House, study: str) -> None:
    path = f"/patients/{(await gateway.json('/patients'))[0]}/protected"
    assert await (await gateway.get(path)).text() == "0"
    assert (await gateway.client.put(path, data=b"1")).status == 200
    assert await (await gateway.get(path)).text() == "1"
    assert (await gateway.client.put(path, data=b"perhaps")).status == 400
    assert (await gateway.client.put(path, data=b"0")).status == 200
    assert await (await gateway.get(path)).text() == "0"
    assert (await gateway.client.put("/patients/0-0/protected", data=b"1")).status == 404


@pytest.mark.parametrize("level", LEVELS)
async def test_what_is_deleted_and_comes_again_begins_anew(tmp_path, level: str) -> None:
    """Whichever level is deleted, all that was added goes at every level that goes with it."""
    from tests.support.datasets import sample

    file = sample("CT_small.dcm").read_bytes()
    async with archive(tmp_path) as gateway:
        gateway.dicomweb = type(gateway.dicomweb)(delete=True)
        await gateway.client.post("/instances", data=file)
        for kind in LEVELS:
            path = f"/{kind}/{(await gateway.json(f'/{kind}'))[0]}"
            assert (await gateway.client.put(f"{path}/labels/a")).status == 200
            assert (await gateway.client.put(f"{path}/metadata/1024", data=b"x")).status == 200
        patient = (await gateway.json("/patients"))[0]
        await gateway.client.put(f"/patients/{patient}/protected", data=b"1")
        assert (await gateway.client.delete(f"/{level}/{(await gateway.json(f'/{level}'))[0]}")).status == 200
        assert await gateway.json("/tools/labels") == []
        await gateway.client.post("/instances", data=file)
        for kind in LEVELS:
            path = f"/{kind}/{(await gateway.json(f'/{kind}'))[0]}"
            assert await gateway.json(f"{path}/labels") == []
            assert "1024" not in await gateway.json(f"{path}/metadata")
        assert await (await gateway.get(f"/patients/{patient}/protected")).text() == "0"
