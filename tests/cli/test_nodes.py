"""How a node, TLS to it and the keys of a query are written on the command line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import typer

from gateway.cli.main import app
from gateway.cli.nodes import Calling, node_of, parse_keys, retrieve_level, tag_of
from gateway.dicom.encode import Attribute
from gateway.dimse import status
from gateway.errors import AssociationLost, ConfigurationError
from gateway.scu.echo import echo
from tests.net.test_tls import listening
from tests.support.certificates import Authority, needs_openssl


class TestKeys:
    def test_keywords_and_tags_with_and_without_values(self):
        assert parse_keys(["PatientName=Doe^J*", "00080020=2026-", "(0020,000d)=1.2\\1.3", "StudyTime"]) == {
            0x00100010: Attribute("PN", ["Doe^J*"]),
            0x00080020: Attribute("DA", ["2026-"]),
            0x0020000D: Attribute("UI", ["1.2", "1.3"]),
            0x00080030: Attribute("TM", []),
        }

    def test_numbers(self):
        assert parse_keys(["Rows=512", "FrameTime=33.3", "InstanceNumber=7"]) == {
            0x00280010: Attribute("US", [512]),
            0x00181063: Attribute("DS", ["33.3"]),
            0x00200013: Attribute("IS", ["7"]),
        }

    def test_inside_a_sequence(self):
        step = "ScheduledProcedureStepSequence"
        assert parse_keys([f"{step}.Modality=CT", f"{step}.ScheduledStationAETitle"]) == {
            0x00400100: Attribute("SQ", [{0x00080060: Attribute("CS", ["CT"]), 0x00400001: Attribute("AE", [])}])
        }
        assert parse_keys([step]) == {0x00400100: Attribute("SQ", [])}

    @pytest.mark.parametrize(
        "text", ["Nonsense=1", "PatientID.StudyDate=1", "Rows=many", "PixelData=1", "RequestAttributesSequence=1", "=1"]
    )
    def test_what_is_no_key(self, text: str):
        with pytest.raises(typer.BadParameter, match=text[:4]):
            parse_keys([text])

    def test_a_value_may_hold_what_parts_others(self):
        assert parse_keys(["StudyDescription=a=b.c"]) == {0x00081030: Attribute("LO", ["a=b.c"])}

    def test_tags(self):
        assert (tag_of("PatientID"), tag_of("0010,0020"), tag_of("nothing")) == (0x00100020, 0x00100020, None)


class TestLevel:
    @pytest.mark.parametrize(
        ("keys", "level"),
        [
            (["StudyInstanceUID=1.2"], "study"),
            (["StudyInstanceUID=1.2", "SeriesInstanceUID=1.3"], "series"),
            (["StudyInstanceUID=1.2", "SeriesInstanceUID=1.3", "SOPInstanceUID=1.4"], "instance"),
            (["PatientID=1"], "patient"),
        ],
    )
    def test_the_lowest_unique_key_decides(self, keys: list[str], level: str):
        assert retrieve_level(parse_keys(keys), None) == level

    def test_none(self):
        with pytest.raises(typer.BadParameter, match="StudyInstanceUID"):
            retrieve_level(parse_keys(["StudyDate=2026", "StudyInstanceUID"]), None)


@pytest.mark.case("echo, send, find, move and get take --tls, --ca, --cert and --key")
class TestTls:
    @needs_openssl
    async def test_an_address_is_called_over_tls(self, tmp_path: Path):
        authority = Authority(tmp_path)
        ours, theirs = authority.issue("gateway", "IP:127.0.0.1"), authority.issue("TEST")
        dicom = {"tls_client_certificates": "required", "tls_ca": authority.certificate, "allow_any_caller": True}
        files = {"ca": Path(authority.certificate), "cert": Path(theirs.certificate), "key": Path(theirs.key)}
        async with listening(tmp_path / "data", ours, **dicom) as gateway:
            host, port = gateway.acceptor.tls_address or ("", 0)
            _, node = node_of(f"GATEWAY@{host}:{port}", Calling(aet="TEST", timeout=5.0, **files))
            assert await echo(node) == status.SUCCESS

    @needs_openssl
    def test_what_is_not_given_is_that_of_the_settings(self, tmp_path: Path):
        authority = Authority(tmp_path)
        ours = authority.issue("ours")
        config = tmp_path / "gateway.toml"
        config.write_text(
            f'[dicom]\ntls_ca = "{authority.certificate}"\ntls_certificate = "{ours.certificate}"\n'
            f'tls_key = "{ours.key}"\n[modalities.ct]\naet = "CT"\nhost = "10.0.0.1"\nport = 104\n'
            '[modalities.mr]\naet = "MR"\nhost = "10.0.0.1"\nport = 104\ntls = true\ntls_name = "*"\n'
        )
        assert node_of("ct", Calling(config))[1].tls is None
        _, ct = node_of("ct", Calling(config, tls=True))
        _, mr = node_of("mr", Calling(config, ca=Path(authority.certificate)))
        assert ct.tls is not None
        assert mr.tls is not None
        assert (ct.tls.name, ct.tls.context.check_hostname) == ("10.0.0.1", True)
        assert mr.tls.context.check_hostname is False
        assert [each["subject"] for each in ct.tls.context.get_ca_certs()] == [((("commonName", "authority"),),)]

    @pytest.mark.case("item 9 A call without TLS to a port for TLS says what is likely wrong")
    @needs_openssl
    async def test_a_port_for_tls_that_is_called_without(self, tmp_path: Path):
        ours = Authority(tmp_path).issue("gateway", "IP:127.0.0.1")
        async with listening(tmp_path / "data", ours, allow_any_caller=True) as gateway:
            host, port = gateway.acceptor.tls_address or ("", 0)
            with pytest.raises(AssociationLost, match="without an answer: does it expect TLS"):
                await echo(node_of(f"GATEWAY@{host}:{port}", Calling(timeout=5.0))[1])

    @pytest.mark.case("item 9 A call over TLS to a port without it says what is likely wrong")
    @needs_openssl
    async def test_a_port_without_tls_that_is_called_over_it(self, tmp_path: Path):
        """A peer that closes at the first bytes that are no DICOM, as DCMTK does."""

        async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            files = Calling(ca=Path(Authority(tmp_path).certificate), timeout=5.0)
            with pytest.raises(AssociationLost, match="does it expect TLS there"):
                await echo(node_of(f"GATEWAY@127.0.0.1:{port}", files)[1])

    def test_a_file_that_is_none_is_named(self, tmp_path: Path):
        nothing = tmp_path / "nothing.pem"
        with pytest.raises(ConfigurationError, match=r"--ca .*nothing.pem: No such file"):
            node_of("X@10.0.0.1:104", Calling(ca=nothing))
        with pytest.raises(ConfigurationError, match=r"--cert .*nothing.pem"):
            node_of("X@10.0.0.1:104", Calling(cert=nothing))
        with pytest.raises(typer.BadParameter, match="--key needs --cert"):
            node_of("X@10.0.0.1:104", Calling(key=nothing))

    @pytest.mark.parametrize("command", ["echo", "send", "find", "move", "get", "commit"])
    def test_each_command_takes_them(self, tmp_path: Path, command: str):
        rest = {
            "send": [str(tmp_path)],
            "move": ["StudyInstanceUID=1.2"],
            "get": ["StudyInstanceUID=1.2", "--out", str(tmp_path / "out")],
            "commit": [str(tmp_path)],
        }
        files = ["--tls", "--ca", str(tmp_path / "nothing.pem"), "--cert", "c.pem", "--key", "k.pem"]
        with pytest.raises(ConfigurationError, match=r"--cert c\.pem, --key k\.pem"):
            app([command, "X@127.0.0.1:1", *rest.get(command, []), *files], standalone_mode=False)
