"""Settings: where they come from, which wins, and what a wrong one is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gateway import config
from gateway.config import Settings, load
from gateway.config.base import parse_size
from gateway.errors import ConfigurationError
from tests.support import settings


def written(folder: Path, text: str) -> Path:
    file = folder / "gateway.toml"
    file.write_text(text)
    return file


def error_of(folder: Path, text: str, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(written(folder, text), environment or {})
    return str(caught.value)


class TestSources:
    def test_nothing_at_all_is_a_gateway_on_loopback(self):
        settings = load(environment={})
        assert settings == Settings()
        assert config.is_loopback(settings.dicom.host)
        assert config.is_loopback(settings.http.host)

    def test_defaults_then_file_then_environment_then_flags(self, tmp_path: Path):
        file = written(tmp_path, '[dicom]\naet = "FILE"\nport = 1\nmax_associations = 7\n')
        environment = {"GATEWAY_DICOM__PORT": "2", "GATEWAY_DICOM__AET": "ENV", "PATH": "x", "GATEWAY_CONFIG": "y"}
        settings = load(file, environment, {"dicom.aet": "FLAG", "dicom.host": None})
        assert (settings.dicom.aet, settings.dicom.port, settings.dicom.max_associations) == ("FLAG", 2, 7)
        assert settings.dicom.host == Settings().dicom.host

    @pytest.mark.parametrize(
        ("name", "text", "dotted", "value"),
        [
            ("GATEWAY_DICOM__PORT", "104", "dicom.port", 104),
            ("GATEWAY_DICOM__IDLE_TIMEOUT", "2.5", "dicom.idle_timeout", 2.5),
            ("GATEWAY_DICOM__CHECK_CALLED_AET", "true", "dicom.check_called_aet", True),
            ("GATEWAY_STORAGE__PATH", "/data", "storage.path", "/data"),
            ("GATEWAY_STORAGE__DUPLICATES", "reject", "storage.duplicates", "reject"),
            ("GATEWAY_HTTP__HOSTS", "a.example, b.example", "http.hosts", ("a.example", "b.example")),
        ],
    )
    def test_environment(self, name: str, text: str, dotted: str, value: Any):
        settings: Any = load(environment={name: text})
        for part in dotted.split("."):
            settings = getattr(settings, part)
        assert settings == value

    def test_it_cannot_be_changed(self):
        with pytest.raises(AttributeError):
            Settings().dicom.port = 1  # type: ignore[misc]

    def test_shown_without_passwords(self, tmp_path: Path):
        user = '[[http.users]]\nname = "ann"\npassword = "scrypt$geheim"\n'
        ours = '[modalities.ct]\naet = "CT"\nidentity_name = "we"\nidentity_password = "geheim"\n'
        file = written(tmp_path, user + ours)
        assert "geheim" not in repr(config.as_builtins(load(file, {})))

    def test_keys_are_not_shown(self, tmp_path: Path):
        file = tmp_path / "gateway.toml"
        file.write_text('[changes.x]\nkey = "top geheim"\n')
        assert "geheim" not in repr(config.as_builtins(load(file, {})))


class TestErrors:
    """Each says where, what, and what would be right."""

    def test_no_such_file(self, tmp_path: Path):
        with pytest.raises(ConfigurationError, match=r"nowhere.toml: there is no such"):
            load(tmp_path / "nowhere.toml", {})

    def test_not_toml(self, tmp_path: Path):
        assert "not valid TOML" in error_of(tmp_path, "[dicom\n")

    @pytest.mark.case("settings that are nested without end are said to be")
    @pytest.mark.parametrize("text", ["a" + ".a" * 5000 + " = 1", "a = " + "[" * 5000 + "]" * 5000, "a." * 33 + "a=1"])
    def test_nested_without_end(self, tmp_path: Path, text: str):
        assert "nested more than 32 deep" in error_of(tmp_path, text)

    def test_not_text(self, tmp_path: Path):
        (tmp_path / "gateway.toml").write_bytes(b"\xff\xfe")
        with pytest.raises(ConfigurationError, match="cannot be read"):
            load(tmp_path / "gateway.toml", {})

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("[dicom]\nprot = 1", ["gateway.toml", "prot", "dicom"]),
            ('[dicom]\nport = "x"', ["'x'", "dicom.port"]),
            ("[dicom]\nport = 65536", ["dicom.port", "65536", "0 to 65535"]),
            ("[dicom]\nport = true", ["dicom.port"]),
            ("[elsewhere]", ["elsewhere"]),
            ('[tenants."a b"]', ["tenants.a b", "letters"]),
            ('[tenants.a]\naets = ["X"]\n[tenants.b]\naets = ["X"]', ["tenants.b.aets", "'X'", "tenants.a"]),
            ('[tenants.a]\naets = ["GATEWAY"]', ["tenants.a.aets", "dicom.aet"]),
            ("[tenants.a]\nkeep_days = -1", ["tenants.a.keep_days", "less than 0"]),
            ('[modalities.x]\naet = "X"\ntenant = "a"', ["modalities.x.tenant", "no tenant"]),
            (
                '[tenants.a]\n[destinations.d]\nkind = "folder"\npath = "/x"\n'
                '[rules.r]\ntenant = "a"\ndestinations = ["d"]',
                ["rules.r.destinations", "'d'", "tenant 'a'"],
            ),
            ("dicom = 1", ["dicom"]),
            ('[dicom]\naet = ""', ["dicom.aet", "1 to 16"]),
            ('[dicom]\naet = "ABCDEFGHIJKLMNOPQ"', ["dicom.aet", "1 to 16"]),
            ('[dicom]\naet = "A\\\\B"', ["dicom.aet"]),
            ("[dicom]\nmax_pdu = 100", ["dicom.max_pdu", "4096"]),
            ("[dicom]\nmax_associations = 0", ["dicom.max_associations"]),
            ("[dicom]\nidle_timeout = -1", ["dicom.idle_timeout"]),
            ("[storage]\nbuffer_memory = 1", ["storage.buffer_memory", "4194304"]),
            ('[storage]\nduplicates = "maybe"', ["storage.duplicates", "'maybe'", '"keep" or "overwrite" or "reject"']),
            ('[dicom]\nport = "104"', ["dicom.port", "'104'", '"off"', "a number without quotation marks"]),
            ('[modalities.ct]\naet = "CT"\nallow = ["ech"]', ["'ech'", '"echo" or "store"']),
            ('[http]\nhosts = "pacs.example"', ["http.hosts", 'it must be a list, as ["a", "b"]', "is a text"]),
            ('[http]\nport = "8042"', ["http.port", "it must be a whole number", "is a text"]),
            ('[dicom]\naets = ["A", ""]', ["dicom.aets", "1 to 16"]),
            ('[http]\nprefix = "/"', ["http.prefix", "/gateway"]),
            ('[http]\nprefix = "/a/"', ["http.prefix"]),
            ('[http]\nprefix = "/{a}"', ["http.prefix"]),
            ('[http]\ntrusted_proxies = ["proxy"]', ["http.trusted_proxies", "'proxy'", "network"]),
            ('[http]\ncors_origins = ["*"]', ["http.cors_origins", "https://viewer.example.org"]),
            ('[[http.viewers]]\nname = "x"\nurl = "https://a/{study}"', ["http.viewers: x: url", "{study_uid}"]),
            (
                '[[http.viewers]]\nname = "x"\nurl = "https://a/{study_uid!r}"',
                ["http.viewers: x: url", "{study_uid!r}"],
            ),
            ('[[http.viewers]]\nname = "x"\nurl = "https://a/{"', ["http.viewers: x: url"]),
            ('[[http.viewers]]\nname = "x"\nurl = "/there"', ["http.viewers: x: url", "scheme"]),
            ('[[http.viewers]]\nname = "x"\nurl = "JavaScript:alert(1)"', ["http.viewers: x: url", "JavaScript"]),
            (2 * '[[http.viewers]]\nname = "x"\nurl = "https://a/"\n', ["http.viewers", "two of the name 'x'"]),
            ('[http]\ncors_origins = ["null"]', ["http.cors_origins"]),
            ('[http]\ncors_origins = ["https://a/"]', ["http.cors_origins"]),
            ('[http]\ncors_origins = ["https://a:443"]', ["http.cors_origins"]),
            ('[http]\ncors_origins = ["https://A"]', ["http.cors_origins"]),
            ('[http]\ncors_origins = ["https://*.a"]', ["http.cors_origins"]),
            ('[dicom]\nhost = "0.0.0.0"', ["dicom.host", "[modalities.NAME]", "dicom.allow_any_caller"]),
            ('[modalities.ct]\nhost = "x"', ["aet", "modalities"]),
            ('[modalities.ct]\naet = "C\\\\T"', ["modalities.ct.aet", "1 to 16"]),
            ('[modalities.ct]\naet = "CT"\nhost = "a b"', ["modalities.ct.host", "'a b'"]),
            ('[modalities.ct]\naet = "CT"\nport = 104', ["modalities.ct.port", "host"]),
            ('[modalities.ct]\naet = "CT"\nport = 104\nhost = "10.0.0.0/8"', ["modalities.ct.port", "host"]),
            ('[modalities.ct]\naet = "CT"\nport = 70000', ["modalities.ct.port", "65535"]),
            ('[modalities.ct]\naet = "CT"\nidentity_password = "x"', ["modalities.ct.identity_name"]),
            ('[modalities.ct]\naet = "CT"\nidentity_name = "x"\nidentity_token_file = "y"', ["not both"]),
            ('[modalities.ct]\naet = "CT"\nidentity_confirmed = true', ["modalities.ct.identity_confirmed"]),
            ('[dicom]\nuser_identity_types = ["token"]', ["tokens.issuer", "user_identity_types"]),
            ('[tokens]\nkeys = "http://login.example/keys"', ["tokens.keys", "https"]),
            ('[modalities.ct]\naet = "CT"\nallow = ["fetch"]', ["fetch", "allow"]),
            ('[modalities.ct]\naet = "CT"\nour_aet = "seventeen letters"', ["modalities.ct.our_aet"]),
            ('[modalities.ct]\naet = "CT"\nidle_timeout = -1', ["modalities.ct.idle_timeout"]),
            ('[modalities.ct]\naet = "CT"\nresponse_timeout = 0', ["modalities.ct.response_timeout"]),
            ("[dicom]\ntls_port = 2762", ["dicom.tls_port", "dicom.tls_certificate"]),
            ('[dicom]\ntls_key = "k"', ["dicom.tls_certificate", "dicom.tls_key"]),
            ('[dicom]\ntls_client_certificates = "required"', ["dicom.tls_ca"]),
            ("[dicom]\ntls_bind_aet = true", ["dicom.tls_bind_aet", "dicom.tls_client_certificates"]),
            ('[dicom]\nport = "off"', ["dicom.port", "dicom.tls_port"]),
            ('[dicom]\nport = "no"', ["dicom.port"]),
            ('[http]\nhost = "0.0.0.0"', ["http.host", "hash-password", "http.allow_anonymous"]),
            ('[http]\ncertificate = "a.pem"', ["http.certificate", "http.key"]),
        ],
    )
    def test_wrong_setting(self, tmp_path: Path, text: str, words: list[str]):
        said = error_of(tmp_path, text)
        assert [word for word in words if word not in said] == []

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("GATEWAY_DICOM__PROT", "1"),
            ("GATEWAY_NOWHERE__PORT", "1"),
            ("GATEWAY_DICOM__PORT", "many"),
            ("GATEWAY_HTTP__USERS", "CT"),
            ("GATEWAY_MODALITIES__CT__PROT", "1"),
            ("GATEWAY_DICOM__PORT__X", "1"),
        ],
    )
    def test_wrong_variable_is_named(self, name: str, text: str):
        with pytest.raises(ConfigurationError, match=name):
            load(environment={name: text})

    TLS = '[dicom]\ntls_port = 2762\ntls_certificate = "c"\ntls_key = "k"\ntls_ca = "ca"\n'

    @pytest.mark.case("tls_bind_aet beside modalities without tls is a mistake, where plain callers are taken")
    def test_a_bound_title_that_plain_callers_may_have(self, tmp_path: Path):
        bound = self.TLS + 'tls_client_certificates = "required"\ntls_bind_aet = true\n'
        modalities = '[modalities.ct]\naet = "CT"\ntls = true\n[modalities.mr]\naet = "MR"\n'
        said = error_of(tmp_path, f"{bound}port = 104\n{modalities}")
        assert "dicom.tls_bind_aet: anybody may take the AE title of mr on the plain port" in said
        assert "set modalities.mr.tls = true" in said
        for right in (
            bound + modalities,
            f'{bound}port = "off"\n{modalities}',
            f"{bound}port = 104\n{modalities}tls = true\n",
            f"{self.TLS}port = 104\n{modalities}",
        ):
            load(written(tmp_path, right), {})

    @pytest.mark.case("the plain port can be switched off")
    def test_the_plain_port(self, tmp_path: Path):
        def port(text: str) -> int | None:
            return load(written(tmp_path, text), {}).dicom.plain_port

        assert port("") == 4242
        assert port("dicom.port = 0") == 0
        assert port(self.TLS) is None
        assert port(f'{self.TLS}port = "off"') is None
        assert port(f"{self.TLS}port = 104") == 104
        file = written(tmp_path, f"{self.TLS}port = 104")
        assert load(file, {"GATEWAY_DICOM__PORT": "off"}).dicom.plain_port is None

    def test_known_callers_and_users_open_the_listeners(self, tmp_path: Path):
        text = '[dicom]\nhost = "0.0.0.0"\n[modalities.ct]\naet = "CT"\nhost = "10.0.0.0/8"\n'
        text += '[http]\nhost = "::"\n[[http.users]]\nname = "ann"\npassword = "x"\n'
        settings = load(written(tmp_path, text), {})
        assert settings.modalities["ct"].host == "10.0.0.0/8"


def test_modalities_from_the_environment():
    settings = load(environment={"GATEWAY_MODALITIES__CT__AET": "CT", "GATEWAY_MODALITIES__CT__ALLOW": "echo, store"})
    assert settings.modalities["ct"].allow == ("echo", "store")


def test_changes_between_two_snapshots(tmp_path: Path):
    before = load(written(tmp_path, '[modalities.a]\naet = "A"\n[modalities.b]\naet = "B"\n[dicom]\nport = 1\n'), {})
    after = load(written(tmp_path, '[modalities.a]\naet = "A"\n[modalities.c]\naet = "B"\n[dicom]\nport = 2\n'), {})
    assert config.changes(before, after) == ["dicom.port", "modalities.b", "modalities.c"]
    assert config.changes(after, after) == []


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("pacs.example", False),
        ("", False),
    ],
)
def test_loopback(host: str, loopback: bool):
    assert config.is_loopback(host) is loopback


def test_the_document_names_every_setting():
    """Made by `python -m tests.support.settings`."""
    assert settings.BEGIN + settings.table() + settings.END in settings.DOCUMENT.read_text()


def test_the_documents_show_right_configurations(tmp_path: Path):
    text = "".join((settings.ROOT / "deploy" / name).read_text() for name in ("ACCESS.md", "ROUTING.md"))
    examples = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    ports = [load(written(tmp_path, example), {}).dicom.tls_port for example in examples]
    assert ports == [None, 2762, *[None] * 7]


@pytest.mark.case("sizes may be written with their units")
@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512 MiB", 512 << 20),
        ("1.5GiB", 3 << 29),
        ("8 kB", 8000),
        ("8KiB", 8192),
        ("2 TB", 2 * 10**12),
        ("1 PiB", 1 << 50),
        ("4096", 4096),
        ("4096 B", 4096),
        ("512 MiBs", None),
        ("MiB", None),
        ("-1 MiB", None),
        ("1e3", None),
        ("", None),
    ],
)
def test_sizes(tmp_path: Path, text: str, size: int | None):
    assert parse_size(text) == size
    if size is None:
        assert "storage.min_free: is not a size" in error_of(tmp_path, f'[storage]\nmin_free = "{text}"')
        with pytest.raises(ConfigurationError, match=r"GATEWAY_STORAGE__MIN_FREE: .* is not a size"):
            load(environment={"GATEWAY_STORAGE__MIN_FREE": text})
    else:
        assert load(written(tmp_path, f'[storage]\nmin_free = "{text}"'), {}).storage.min_free == size
        assert load(environment={"GATEWAY_STORAGE__MIN_FREE": text}).storage.min_free == size


@pytest.mark.case("sizes may be written with their units")
def test_sizes_of_destinations(tmp_path: Path):
    text = '[destinations.x]\nkind = "dicomweb"\nurl = "http://x/"\nbandwidth = "10 MB"\nbatch_size = "1 MiB"'
    destination: Any = load(written(tmp_path, text), {}).destinations["x"]
    assert (destination.bandwidth, destination.batch_size) == (10_000_000, 1 << 20)
