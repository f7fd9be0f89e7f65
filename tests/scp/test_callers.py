"""gateway/access/callers.py and gateway/scp/admission.py: who is let in, from where, as whom, and for what."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.access.callers import CallerFacts, NotRecognized, recognize
from gateway.config import Dicom, Modality, Settings
from gateway.dicom import uids
from gateway.dimse import messages, status
from gateway.errors import AssociationRefused
from gateway.net.buffers import BlockPool
from gateway.net.requestor import Requestor, associate
from gateway.scp.admission import may_ask
from gateway.scp.services import REGISTRY
from gateway.ul.items import RoleSelection
from gateway.ul.negotiation import CALLED_AE_TITLE_NOT_RECOGNIZED, CALLING_AE_TITLE_NOT_RECOGNIZED, PresentationContext
from tests.net.test_tls import listening, over_tls
from tests.support.certificates import Authority, needs_openssl
from tests.support.intake import CT, Intake, intake
from tests.support.waiting import until

EXPLICIT_UID = uids.EXPLICIT_VR_LITTLE_ENDIAN.uid


async def recognized(settings: Settings, aet: str, host: str, *certificate: str) -> str:
    """The modality's name, or why it is none."""
    try:
        return (await recognize(settings, CallerFacts(aet, host, frozenset(certificate) if certificate else None))).name
    except NotRecognized as error:
        return str(error)


class TestWhere:
    """`modalities.NAME.host`."""

    @pytest.mark.parametrize(
        ("host", "address", "known"),
        [
            ("", "10.1.2.3", True),
            ("10.1.2.3", "10.1.2.3", True),
            ("10.1.2.3", "10.1.2.4", False),
            ("10.1.0.0/16", "10.1.2.3", True),
            ("10.1.0.0/16", "::ffff:10.1.2.3", True),
            ("10.1.0.0/16", "10.2.2.3", False),
            ("fe80::/10", "fe80::1%eth0", True),
            ("localhost", "127.0.0.1", True),
            ("localhost", "10.1.2.3", False),
        ],
    )
    async def test_address(self, host: str, address: str, known: bool) -> None:
        settings = Settings(modalities={"ct": Modality(aet="CT", host=host)})
        said = await recognized(settings, "CT", address)
        assert (said == "ct") is known
        if not known:
            assert f"modalities.ct.host = {host!r}" in said

    async def test_a_name_is_resolved_each_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        addresses = ["10.1.2.3", "10.1.2.4"]

        async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
            return [(2, 1, 6, "", (addresses.pop(0), 0))]

        settings = Settings(modalities={"ct": Modality(aet="CT", host="ct.example")})
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: type("Loop", (), {"getaddrinfo": getaddrinfo})())
        monkeypatch.setattr(asyncio, "timeout", lambda _: Always())
        assert await recognized(settings, "CT", "10.1.2.3") == "ct"
        assert await recognized(settings, "CT", "10.1.2.3") != "ct"

    async def test_a_name_that_nobody_knows(self, caplog: pytest.LogCaptureFixture) -> None:
        settings = Settings(modalities={"ct": Modality(aet="CT", host="no-such-host.invalid")})
        assert await recognized(settings, "CT", "10.1.2.3") != "ct"
        assert "modalities.ct.host" in caplog.text
        assert "cannot be resolved" in caplog.text

    async def test_the_same_title_in_two_places(self) -> None:
        two = {"a": Modality(aet="CT", host="10.0.0.1"), "b": Modality(aet="CT", host="10.0.0.2")}
        assert await recognized(Settings(modalities=two), "CT", "10.0.0.2") == "b"


class Always:
    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *_: object) -> None: ...


class TestStrangers:
    async def test_on_loopback_with_nobody_named_everybody_may_all(self) -> None:
        caller = await recognize(Settings(), CallerFacts("X", "127.0.0.1"))
        assert "find" in caller.may

    async def test_with_somebody_named_others_are_told_how(self) -> None:
        said = await recognized(Settings(modalities={"ct": Modality(aet="CT")}), "X", "10.0.0.9")
        assert '[modalities.NAME] aet = "X" host = "10.0.0.9"' in said

    async def test_where_any_are_allowed_they_may_send(self) -> None:
        dicom = Dicom(host="0.0.0.0", allow_any_caller=True)
        caller = await recognize(
            Settings(dicom=dicom, modalities={"ct": Modality(aet="CT")}), CallerFacts("X", "10.0.0.9")
        )
        assert caller.may == {"echo", "store"}

    async def test_who_takes_the_title_of_one_that_is_named_is_nobody(self) -> None:
        modalities = {"ct": Modality(aet="CT", host="10.0.0.1")}
        settings = Settings(dicom=Dicom(allow_any_caller=True), modalities=modalities)
        assert "calls from 10.0.0.9" in await recognized(settings, "CT", "10.0.0.9")


class TestCertificates:
    """The names in a certificate against the calling AE title."""

    settings = Settings(
        dicom=Dicom(tls_client_certificates="optional", tls_ca="ca.pem", tls_bind_aet=True, allow_any_caller=True),
        modalities={
            "ct": Modality(aet="CT", tls=True),
            "mr": Modality(aet="MR", tls=True, tls_name="MR.example"),
            "us": Modality(aet="US", tls=True, tls_name="*"),
            "cr": Modality(aet="CR"),
        },
    )

    @pytest.mark.parametrize(
        ("aet", "names", "outcome"),
        [
            ("CT", ("CT", "ct.example"), "ct"),
            ("CT", ("MR",), "not its AE title"),
            ("CT", ("ct",), "not its AE title"),
            ("CT", (), "calls without TLS"),
            ("CT", ("",), "not its AE title"),
            ("MR", ("mr.example",), "mr"),
            ("MR", ("MR",), "modalities.mr.tls_name"),
            ("US", ("whatever",), "us"),
            ("CR", (), "cr"),
            ("CR", ("CR",), "cr"),
            ("CR", ("CT",), "not its AE title"),
            ("X", ("X",), ""),
            ("X", ("CT",), "not its AE title"),
        ],
    )
    async def test_bound(self, aet: str, names: tuple[str, ...], outcome: str) -> None:
        said = await recognized(self.settings, aet, "10.0.0.1", *names)
        assert said == outcome or (outcome and outcome in said)

    @pytest.mark.case("broken 16 a certificate without names is nobody where tls_bind_aet is set")
    async def test_without_a_name_where_one_must_be_shown(self) -> None:
        """No certificate, where one is optional, or one that names nobody."""
        for aet in ("CT", "MR", "CR", "X"):
            with pytest.raises(NotRecognized, match="shows a certificate without names"):
                await recognize(self.settings, CallerFacts(aet, "10.0.0.1", frozenset()))
        assert (await recognize(self.settings, CallerFacts("US", "10.0.0.1", frozenset()))).name == "us"

    @needs_openssl
    async def test_over_sockets(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        authority = Authority(tmp_path)
        ours, theirs = authority.issue("gateway", "IP:127.0.0.1"), authority.issue("TEST")
        dicom = {"tls_client_certificates": "required", "tls_ca": authority.certificate, "tls_bind_aet": True}
        async with listening(tmp_path / "data", ours, **dicom) as gateway:
            call = over_tls(gateway, authority, theirs)
            assert (await refusal_or_echo(gateway, call)) == status.SUCCESS
            assert (
                await refusal_or_echo(gateway, gateway.call(port=call.port, tls=call.tls, calling_aet="OTHER"))
                == CALLING_AE_TITLE_NOT_RECOGNIZED
            )
            assert "shows a certificate for TEST, not its AE title" in caplog.text

    @needs_openssl
    @pytest.mark.case("broken 16 a certificate without names is nobody where tls_bind_aet is set")
    async def test_a_certificate_without_names(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        ours, nameless = authority.issue("gateway", "IP:127.0.0.1"), authority.issue("/O=Hospital/OU=Printer 7")
        dicom = {"tls_client_certificates": "required", "tls_ca": authority.certificate, "tls_bind_aet": True}
        modalities = {"ct": {"aet": "TEST", "tls": True}}
        async with listening(tmp_path / "data", ours, modalities=modalities, **dicom) as gateway:
            assert await refusal_or_echo(gateway, over_tls(gateway, authority, nameless)) == (
                CALLING_AE_TITLE_NOT_RECOGNIZED
            )


class TestCalledTitle:
    @pytest.mark.parametrize(("title", "known"), [("GATEWAY", True), ("ARCHIVE", True), ("ELSE", False)])
    async def test_several_are_ours(
        self, tmp_path: Path, title: str, known: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        dicom = {"check_called_aet": True, "aets": ["ARCHIVE"]}
        async with asyncio.timeout(20), intake(tmp_path, dicom=dicom) as gateway:
            answer = await refusal_or_echo(gateway, gateway.call(called_aet=title))
        assert answer == (status.SUCCESS if known else CALLED_AE_TITLE_NOT_RECOGNIZED)
        assert known or "add it to dicom.aets" in caplog.text


class TestPermissions:
    @pytest.mark.parametrize(
        ("name", "service"),
        [
            ("1.2.840.10008.1.1", "echo"),
            (CT, "store"),
            ("1.2.3.4", "store"),
            ("1.2.840.10008.5.1.4.1.2.1.1", "find"),
            ("1.2.840.10008.5.1.4.1.2.2.2", "move"),
            ("1.2.840.10008.5.1.4.1.2.2.3", "get"),
            ("1.2.840.10008.5.1.4.1.2.4.3", None),
            ("1.2.840.10008.5.1.4.1.2.5.3", None),
            ("1.2.840.10008.1.20.1", "commit"),
            ("1.2.840.10008.5.1.4.31", "worklist"),
            ("1.2.840.10008.3.1.2.3.3", "mpps"),
        ],
    )
    def test_permission_of_a_sop_class(self, name: str, service: str | None) -> None:
        assert REGISTRY.permission_of(name) == service

    async def test_a_context_of_what_it_may_not_is_rejected(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        modalities = {"ct": {"aet": "TEST", "allow": ["echo"]}}
        async with (
            asyncio.timeout(20),
            intake(tmp_path, modalities=modalities) as gateway,
            associate(gateway.call()) as association,
        ):
            assert await association.echo() == status.SUCCESS
            results = [context.result for context in association.association.accepted.contexts]
            assert results == [0, 1]
        assert re.search(r'association 1 TEST@127.0.0.1 may not store: add "store" to modalities.ct.allow', caplog.text)

    async def test_a_request_on_a_context_that_stands_for_another_reason(self, tmp_path: Path) -> None:
        """It proposes to be SCP of storage for a C-GET, and then sends all the same (status 0124, PS3.7 C.5.5)."""
        modalities = {"ct": {"aet": "TEST", "allow": ["echo", "get"]}}
        roles = (RoleSelection(CT, scu=True, scp=True),)
        async with (
            asyncio.timeout(20),
            intake(tmp_path, modalities=modalities) as gateway,
            associate(gateway.call(roles=roles)) as association,
        ):
            context = association.context_for(CT)
            response = await association.store(context, "1.2.3", [b"12345678"])
            assert response.status == status.NOT_AUTHORIZED
            assert await association.echo() == status.SUCCESS

    async def test_an_event_report_is_the_answer_to_what_we_asked(self, tmp_path: Path) -> None:
        class Nobody:
            allowed: frozenset[str] = frozenset()

        commitment = PresentationContext(1, "1.2.840.10008.1.20.1", EXPLICIT_UID, True, False)
        report = messages.n_event_report_request(1, commitment.abstract_syntax, "1.2.840.10008.1.20.1.1", 1)
        action = messages.n_action_request(1, commitment.abstract_syntax, "1.2.840.10008.1.20.1.1", 1)
        assert may_ask(Nobody(), "commit", report)  # type: ignore[arg-type]
        assert not may_ask(Nobody(), "commit", action)  # type: ignore[arg-type]


class TestTimeouts:
    async def test_silence_of_one_modality(self, tmp_path: Path) -> None:
        modalities = {"ct": {"aet": "TEST", "idle_timeout": 0.05}, "mr": {"aet": "OTHER"}}
        async with asyncio.timeout(20), intake(tmp_path, modalities=modalities) as gateway:
            short = await opened(gateway, "TEST")
            long = await opened(gateway, "OTHER")
            await until(lambda: not gateway.acceptor.established()["TEST"])
            assert await long.echo() == status.SUCCESS
            await long.release()
            await short.abort()


class TestAdmissionTakesTime:
    async def test_a_caller_that_goes_before_its_answer(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nothing is left behind, and others are served meanwhile."""
        asked, cancelled = asyncio.Event(), asyncio.Event()

        async def slowly(settings: Settings, origin: CallerFacts) -> Any:
            if origin.aet == "OTHER":
                return await recognize(settings, origin)
            asked.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        monkeypatch.setattr("gateway.scp.admission.recognize", slowly)
        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            waiting = asyncio.create_task(opened(gateway, "TEST"))
            await asked.wait()
            assert await refusal_or_echo(gateway, gateway.call(calling_aet="OTHER")) == status.SUCCESS
            waiting.cancel()
            await cancelled.wait()
            await until(lambda: not gateway.acceptor.associations())
        assert "error" not in caplog.text

    async def test_one_that_takes_too_long(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gateway.scp.admission.recognize", lambda *_: asyncio.Event().wait())
        monkeypatch.setattr("gateway.net.session._ADMISSION_TIMEOUT_S", 0.01)
        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            assert await refusal_or_echo(gateway, gateway.call()) == (2, 3, 1)

    async def test_an_error_of_ours(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def failing(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr("gateway.scp.admission.recognize", failing)
        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            assert await refusal_or_echo(gateway, gateway.call()) == (1, 1, 1)
        assert "ZeroDivisionError" in caplog.text


async def opened(gateway: Intake, aet: str) -> Any:
    return await Requestor.open(gateway.call(calling_aet=aet), BlockPool(4))


async def refusal_or_echo(gateway: Intake, call: Any) -> int | tuple[int, int, int]:
    try:
        async with associate(call) as association:
            return await association.echo()
    except AssociationRefused as error:
        return error.result, error.source, error.reason
