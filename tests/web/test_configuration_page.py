"""The page of the configuration: every section, values without secrets, where they come from, and what is set."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gateway.config import Modality, Settings, User, load
from gateway.config.added import extended
from gateway.config.provenance import SettingOrigin, note_sources, provenance
from tests.support.web import House


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_STARTED_WITH", "{}")


def of(settings: list[SettingOrigin], place: str) -> tuple[object, str, str]:
    (found,) = [each for each in settings if f"{each.section}.{each.name}" == place]
    return found.value, found.kind, found.where


class TestProvenance:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        made = tmp_path / "gateway.toml"
        made.write_text(
            '[dicom]\naet = "PACS"\n\n[modalities.ct1]\naet = "CT1"\nhost = "10.1.2.3"\nport = 104\n'
            'identity_name = "x"\nidentity_password = "secret"\n'
        )
        return made

    def test_each_source(self, file: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("GATEWAY_HTTP__PORT", "8043")
        flags = {"dicom.port": 11112, "dicom.host": None}
        settings = load(file, overrides=flags)
        note_sources(file, flags)
        added = extended(settings, {"mr1": Modality(aet="MR1", host="h", port=1)})
        found = provenance(added, settings)
        assert found.file == str(file)
        assert found.differing == []
        assert of(found.settings, "dicom.aet") == ("PACS", "file", "2")
        assert of(found.settings, "dicom.port") == (11112, "flag", "")
        assert of(found.settings, "http.port") == (8043, "environment", "GATEWAY_HTTP__PORT")
        assert of(found.settings, "http.host")[1:] == ("default", "")
        assert of(found.settings, "modalities.mr1")[1:] == ("page", "")
        value, *origin = of(found.settings, "modalities.ct1")
        assert origin == ["file", "4"]
        assert "secret" not in str(value)

    def test_what_has_changed_since(self, file: Path):
        settings = load(file)
        note_sources(file, {})
        file.write_text('[dicom]\naet = "OTHER"\nprot = 5\n')
        found = provenance(settings, settings)
        assert "dicom.aet" in found.differing
        assert [(each.place, each.line) for each in found.problems] == [("dicom.prot", 3)]
        file.unlink()
        assert provenance(settings, settings).problems

    def test_without_a_file(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.delenv("GATEWAY_STARTED_WITH")
        settings = load()
        found = provenance(settings, settings)
        assert found.file == ""
        assert {each.kind for each in found.settings} == {"default"}
        http = msgspec.structs.replace(settings.http, users=(User(name="anna", password="scrypt:x"),))
        users = of(provenance(msgspec.structs.replace(settings, http=http), settings).settings, "http.users")
        assert "scrypt" not in str(users)


class TestPage:
    async def test_all_sections(self, gateway: House):
        gateway.modalities = {"ct1": Modality(aet="CT1", host="h", port=1, identity_name="x", identity_password="abc7")}
        text = await (await gateway.get("/ui/configuration")).text()
        for section in Settings.__struct_fields__:
            assert f'id="{section}"' in text or section in ("destinations", "rules", "changes", "roles", "tenants")
        assert "max_associations_per_aet" in text
        assert "abc7" not in text
        assert "aet = &#34;CT1&#34;" in text

    async def test_only_what_is_set(self, gateway: House, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("GATEWAY_DICOM__MAX_PDU", "65536")
        text = await (await gateway.get("/ui/configuration?set", accept_language="de")).text()
        assert "GATEWAY_DICOM__MAX_PDU" in text
        assert "Umgebung" in text
        assert "max_associations_per_aet" not in text
