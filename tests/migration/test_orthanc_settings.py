"""Settings of Orthanc in ours: what has a counterpart, and what is said of the rest."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import config
from gateway.config.toml import toml_lines, toml_value
from gateway.migration.no_counterpart import NO_COUNTERPART
from gateway.migration.orthanc_json import Unset, parse_configuration
from gateway.migration.orthanc_settings import Translation, translate

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)


def translated(**orthanc: Any) -> Translation:
    return translate(orthanc, "/etc/orthanc", hashed=lambda password: f"hash of {password}")


def loaded(translation: Translation, folder: Path) -> config.Reading:
    file = folder / "gateway.toml"
    file.write_text("\n".join(toml_lines(translation.tree)))
    return config.read(file, {})


def fates(translation: Translation) -> dict[str, bool]:
    return {each.setting: each.taken for each in translation.fates}


def test_the_defaults_are_those_of_orthanc(tmp_path: Path) -> None:
    reading = loaded(translated(), tmp_path)
    assert not reading.problems
    dicom = reading.settings.dicom
    assert (dicom.aet, dicom.host, dicom.plain_port) == ("ORTHANC", "0.0.0.0", 4242)
    assert (dicom.allow_any_caller, dicom.any_caller_may) == (True, ("echo", "store"))
    assert reading.settings.http.host == "127.0.0.1"


def test_systems(tmp_path: Path) -> None:
    translation = translated(
        DicomModalities={
            "ct": ["CT1", "10.0.0.1", 104],
            "ws": {"AET": "WS", "Host": "10.0.0.2", "Port": 11112, "AllowFind": False, "LocalAet": "US"},
            "no name": ["X", "10.0.0.3", 1],
            "wrong": {"AET": "X"},
        },
        OrthancPeers={"far": {"Url": "https://far/", "CertificateFile": "c.pem", "CertificateKeyFile": "/k.pem"}},
        DicomWeb={"Root": "/dicom-web/", "Servers": {"far": ["https://web/", "u", "p"]}, "Host": "x"},
        HttpTimeout=7,
        HttpsCACertificates="ca.crt",
    )
    reading = loaded(translation, tmp_path)
    assert not reading.problems
    found = reading.settings
    assert found.modalities["ct"].port == 104
    assert "find" not in found.modalities["ws"].allow
    assert found.modalities["ws"].our_aet == "US"
    peer, server = found.destinations["far"], found.destinations["far-dicomweb"]
    assert isinstance(peer, config.destinations.PeerDestination)
    assert (peer.certificate, peer.key, peer.ca) == ("/etc/orthanc/c.pem", "/k.pem", "/etc/orthanc/ca.crt")
    assert (peer.timeout, peer.auth) == (7.0, "none")
    assert isinstance(server, config.destinations.DicomwebDestination)
    assert (server.auth, server.user) == ("basic", "u")
    said = fates(translation)
    assert said["DicomModalities.ct"]
    assert not said["DicomModalities.no name"]
    assert not said["DicomModalities.wrong"]
    assert not said["DicomWeb.Host"]


def test_users_and_listeners(tmp_path: Path) -> None:
    translation = translated(
        RemoteAccessAllowed=True, RegisteredUsers={"alice": "secret"}, SslEnabled=True, HttpPort=443
    )
    http = translation.tree["http"]
    assert http["users"] == [{"name": "alice", "password": "hash of secret"}]
    assert (http["host"], http["port"]) == ("0.0.0.0", 443)
    open_to_all = translated(RemoteAccessAllowed=True, AuthenticationEnabled=False, RegisteredUsers={"a": "b"})
    assert open_to_all.tree["http"]["allow_anonymous"] is True
    assert not fates(open_to_all)["RegisteredUsers"]
    assert not loaded(open_to_all, tmp_path).problems


@pytest.mark.parametrize("password", ["", None, 5, ["x"]])
def test_no_account_is_open(password: object, tmp_path: Path) -> None:
    translation = translated(RemoteAccessAllowed=True, RegisteredUsers={"alice": password, "bob": "secret"})
    assert [each["name"] for each in translation.tree["http"]["users"]] == ["bob"]
    assert not fates(translation)["RegisteredUsers.alice"]
    alone = translated(RemoteAccessAllowed=True, RegisteredUsers={"alice": password})
    assert not alone.tree["http"].get("allow_anonymous")
    assert loaded(alone, tmp_path).problems, "nobody is served, rather than everybody"


def test_variables_that_are_not_set() -> None:
    unset: Unset = {}
    text = """{"RegisteredUsers": {"alice": "${ALICE_PW}", "bob": "x${BOB_PW}", "eve": "${EVE_PW:-e}"},
        "OrthancPeers": {"far": ["http://far/", "u", "${FAR_PW}"]}, // ${IN_A_COMMENT}
        "Name": "${HERE}", "AuthenticationEnabled": true}"""
    read = parse_configuration(text, {"HERE": "x"}, "orthanc.json", unset)
    assert unset == {
        "ALICE_PW": ["RegisteredUsers.alice"],
        "BOB_PW": ["RegisteredUsers.bob"],
        "FAR_PW": ["OrthancPeers.far"],
    }
    translation = translate(read, "/", unset=unset, hashed=lambda password: f"hash of {password}")
    assert translation.tree["http"]["users"] == [{"name": "eve", "password": "hash of e"}]
    said = {each.setting: each.text for each in translation.fates if not each.taken}
    assert said["RegisteredUsers.alice"] == "its password is empty; ${ALICE_PW} is not set"
    assert said["RegisteredUsers.bob"] == "its password is incomplete; ${BOB_PW} is not set"
    assert said["${FAR_PW}"] == "it is not set, and empty in OrthancPeers.far"


def test_names_of_the_machine() -> None:
    (remote,) = (each for each in translated(RemoteAccessAllowed=True).fates)
    assert "http.hosts" in remote.text
    (local,) = (each for each in translated(RemoteAccessAllowed=False).fates)
    assert "http.hosts" not in local.text


def test_further_attributes(tmp_path: Path) -> None:
    translation = translated(
        ExtraMainDicomTags={
            "Patient": ["PatientComments"],
            "Study": ["0008,0090", "00081030", "0040-0254", "Nonsense", "0009,1001"],
            "Instance": ["Rows", "Rows", 5],
            "Frame": ["Rows"],
            "Series": "Rows",
        }
    )
    reading = loaded(translation, tmp_path)
    assert not reading.problems
    tags = reading.settings.storage.main_tags
    assert (tags.patient, tags.series, tags.instance) == (("PatientComments",), (), ("Rows",))
    assert tags.study == ("0008,0090", "0008,1030", "0040,0254")
    assert {name for name, taken in fates(translation).items() if not taken} == {
        f"ExtraMainDicomTags.{each}" for each in ("Study.Nonsense", "Study.0009,1001", "Instance.5", "Frame", "Series")
    }
    assert not fates(translated(ExtraMainDicomTags=["Rows"]))["ExtraMainDicomTags"]
    most = translated(ExtraMainDicomTags={"Series": [f"0018,{number:04x}" for number in range(1, 99)]})
    assert len(most.tree["storage"]["main_tags"]["series"]) == 64


def test_defaults_and_values() -> None:
    translation = translated(
        DicomPort=4242,
        HttpPort=8043,
        StorageCompression=0,
        RegisteredUsers={},
        HttpProxy="http://user:secret@proxy",
        DicomModalities={"ct": ["CT", "10.0.0.1", 104]},
        DicomWeb={"Root": "/dicom-web/", "Servers": ["https://user:secret@web/"], "StudiesMetadata": "Full"},
        AcceptedTransferSyntaxes=["1.2.840.10008.1.*"],
        UnknownPassword="secret",
    )
    said = {each.setting: each for each in translation.fates}
    assert {name for name, each in said.items() if each.is_default} == {
        *("DicomPort", "RegisteredUsers", "DicomWeb.Root", "AcceptedTransferSyntaxes")
    }
    assert said["HttpPort"].value == "8043"
    assert said["DicomWeb.StudiesMetadata"].value == '"Full"'
    assert not any("secret" in each.value for each in translation.fates)
    assert said["DicomModalities.ct"].value == ""


def test_tls_and_the_services_of_all() -> None:
    dicom = translated(
        DicomTlsEnabled=True,
        DicomTlsCertificate="c.pem",
        DicomTlsPrivateKey="k.pem",
        DicomTlsTrustedCertificates="ca.pem",
        DicomTlsRemoteCertificateRequired=False,
        DicomPort=2762,
        DicomAlwaysAllowFind=True,
        DicomAlwaysAllowStore=False,
        DicomScuTimeout=0,
    ).tree["dicom"]
    assert (dicom["tls_port"], dicom["tls_client_certificates"], dicom["tls_ca"]) == (
        2762,
        "optional",
        "/etc/orthanc/ca.pem",
    )
    assert "port" not in dicom
    assert dicom["any_caller_may"] == ["echo", "find"]
    assert "response_timeout" not in dicom
    assert translated(DicomServerEnabled=False, DicomPort=104).tree["dicom"]["port"] == "off"


@pytest.mark.parametrize(
    ("value", "policy"), [(True, "overwrite"), (False, "keep"), ("Never", "keep"), ("IfChanged", "overwrite")]
)
def test_duplicates(value: object, policy: str) -> None:
    assert translated(OverwriteInstances=value).tree["storage"]["duplicates"] == policy


def test_transfer_syntaxes() -> None:
    refused = translated(AcceptedTransferSyntaxes=["1.2.840.10008.1.*"], JpegTransferSyntaxAccepted=False)
    uids = refused.tree["dicom"]["refused_transfer_syntaxes"]
    assert "1.2.840.10008.1.2.4.50" in uids
    assert "1.2.840.10008.1.2.1" not in uids
    assert "refused_transfer_syntaxes" not in translated(AcceptedTransferSyntaxes=[]).tree["dicom"]


def test_names_of_metadata() -> None:
    translation = translated(UserMetadata={"triage": 1024, "own": 5}, UserContentType={"report": [1030, "text/plain"]})
    assert translation.metadata_names == {1024: "triage"}
    assert translation.attachment_names == {1030: "report"}
    assert not fates(translation)["UserMetadata.own"]


def test_every_setting_has_its_fate() -> None:
    everything = {name: object() for name in NO_COUNTERPART} | {"Misspelt": 1, "DicomAet": 5}
    said = fates(translated(**everything))
    assert said == dict.fromkeys(everything, False)
    assert all(len(reason) > 10 for reason in NO_COUNTERPART.values())


@settings(deadline=None)
@given(VALUES)
def test_toml_is_what_its_reader_understands(value: Any) -> None:
    assert tomllib.loads(f"a = {toml_value(value)}")["a"] == value
    tree = {"top": {"below": {"a": value}, "list": [{"b": value}]}}
    assert tomllib.loads("\n".join(toml_lines(tree))) == tree
