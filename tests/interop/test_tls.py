"""DICOM over TLS with DCMTK's programs and pynetdicom, unmodified, in either direction; and user identity with both."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from gateway.access.passwords import hash_password
from gateway.config import Dicom, Modality, Settings
from gateway.dicom import uids
from gateway.errors import AssociationRefused
from gateway.net.requestor import Call, associate
from gateway.net.tls import client_tls
from gateway.scu.echo import echo
from gateway.scu.node import find_node
from tests.support import peers
from tests.support.certificates import Authority, Issued
from tests.support.datasets import sample
from tests.support.processes import Gateway, storescp
from tests.support.waiting import wait_until

pytestmark = pytest.mark.interop
VERIFICATION = "1.2.840.10008.1.1"


@dataclasses.dataclass(frozen=True)
class Trust:
    """One authority, a certificate of the gateway, and one of a peer with the AE title CT1."""

    authority: Authority
    ours: Issued
    theirs: Issued


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    peers.need("openssl")
    authority = Authority(tmp_path_factory.mktemp("trust"))
    ours = authority.issue("gateway", "DNS:localhost", "IP:127.0.0.1", rsa=True)
    return Trust(authority, ours, authority.issue("CT1", "DNS:localhost", "IP:127.0.0.1", rsa=True))


@contextmanager
def serving(folder: Path, trust: Trust, **settings: str) -> Iterator[Gateway]:
    """A gateway with a TLS port that asks for certificates."""
    settings = {
        "GATEWAY_DICOM__TLS_PORT": "0",
        "GATEWAY_DICOM__TLS_CERTIFICATE": trust.ours.certificate,
        "GATEWAY_DICOM__TLS_KEY": trust.ours.key,
        "GATEWAY_DICOM__TLS_CA": trust.authority.certificate,
        "GATEWAY_DICOM__TLS_CLIENT_CERTIFICATES": "required",
        "GATEWAY_DICOM__TLS_BIND_AET": "true",
        **settings,
    }
    with Gateway(folder / "data", environment=settings) as gateway:
        yield gateway


def tls_options(trust: Trust) -> list[str]:
    """Of DCMTK's programs: certificate, key without a passphrase, authority, and that the other side is verified."""
    return ["-pw", "+tls", trust.theirs.key, trust.theirs.certificate, "+cf", trust.authority.certificate, "-rc"]


def run(*command: str) -> tuple[int, str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("profile", ["+py", "+px"])
def test_echoscu_in_each_profile(tmp_path: Path, trust: Trust, profile: str) -> None:
    """BCP 195 and its extended profile. For +pn, Debian's 3.6.7 offers one suite, without encryption (0002H)."""
    echoscu = peers.need("echoscu")
    with serving(tmp_path, trust) as gateway:
        where = [gateway.host, str(gateway.tls_port)]
        code, said = run(echoscu, *tls_options(trust), profile, "-aet", "CT1", "-aec", gateway.aet, *where)
        assert code == 0, said
        assert "CT1@127.0.0.1 accepted, 1 contexts over TLSv1" in gateway.log


def test_storescu(tmp_path: Path, trust: Trust) -> None:
    storescu = peers.need("storescu")
    with serving(tmp_path, trust) as gateway:
        where = [gateway.host, str(gateway.tls_port), str(sample("CT_small.dcm")), str(sample("rtdose.dcm"))]
        code, said = run(storescu, *tls_options(trust), "-aet", "CT1", "-aec", gateway.aet, *where)
        assert code == 0, said
        assert "2 instances" in gateway.log


def test_echoscu_without_a_certificate_or_with_that_of_another(tmp_path: Path, trust: Trust) -> None:
    echoscu = peers.need("echoscu")
    with serving(tmp_path, trust) as gateway:
        where = ["-aec", gateway.aet, gateway.host, str(gateway.tls_port)]
        assert run(echoscu, "+tla", "-ic", *where)[0] != 0
        wait_until(lambda: "peer did not return a certificate" in gateway.log, 5)
        assert run(echoscu, *tls_options(trust), "-aet", "MR1", *where)[0] != 0
        wait_until(lambda: "shows a certificate for 127.0.0.1, CT1, localhost, not its AE title" in gateway.log, 5)


def test_echoscu_on_the_wrong_port(tmp_path: Path, trust: Trust) -> None:
    echoscu = peers.need("echoscu")
    with serving(tmp_path, trust) as gateway:
        assert run(echoscu, "-to", "5", gateway.host, str(gateway.tls_port))[0] != 0
        wait_until(lambda: "speaks plain DICOM on the port for TLS" in gateway.log, 5)
        assert run(echoscu, *tls_options(trust), "-to", "5", gateway.host, str(gateway.port))[0] != 0
        wait_until(lambda: "the peer speaks TLS on the port for plain DICOM" in gateway.log, 5)


def call_to(trust: Trust, port: int) -> Call:
    dicom = Dicom(tls_ca=trust.authority.certificate, tls_certificate=trust.ours.certificate, tls_key=trust.ours.key)
    tls = client_tls(dicom, Modality(aet="PEER", host="127.0.0.1", port=port, tls=True))
    return Call("127.0.0.1", port, "PEER", "GATEWAY", [(VERIFICATION, [uids.IMPLICIT_VR_LITTLE_ENDIAN.uid])], tls=tls)


async def test_we_call_storescp(tmp_path: Path, trust: Trust) -> None:
    with storescp(tmp_path, *tls_options(trust)) as peer:
        async with asyncio.timeout(15), associate(call_to(trust, peer.port)) as association:
            assert await association.echo() == 0


def test_pynetdicom_calls_us(tmp_path: Path, trust: Trust) -> None:
    from pynetdicom import AE

    context = trust.authority.client_context()
    context.load_cert_chain(trust.theirs.certificate, trust.theirs.key)
    with serving(tmp_path, trust) as gateway:
        ae = AE("CT1")
        ae.add_requested_context(VERIFICATION)
        association = ae.associate(
            gateway.host, gateway.tls_port, ae_title=gateway.aet, tls_args=(context, "localhost")
        )
        assert association.is_established
        assert association.send_c_echo().Status == 0
        association.release()


async def test_we_call_pynetdicom(trust: Trust) -> None:
    from pynetdicom import AE

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # default ones want keyUsage from Python 3.13 on
    context.load_verify_locations(trust.authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(trust.theirs.certificate, trust.theirs.key)
    ae = AE("PEER")
    ae.add_supported_context(VERIFICATION)
    server = ae.start_server(("127.0.0.1", 0), block=False, ssl_context=context)
    try:
        async with asyncio.timeout(15), associate(call_to(trust, server.server_address[1])) as association:
            assert await association.echo() == 0
    finally:
        server.shutdown()


def test_pynetdicom_names_its_user(tmp_path: Path) -> None:
    """Types 1 and 2, with a positive response asked for (PS3.7 D.3.3.7)."""
    from pynetdicom import AE
    from pynetdicom.pdu_primitives import UserIdentityNegotiation

    file = tmp_path / "gateway.toml"
    file.write_text(
        f'[dicom]\nuser_identity = "required"\n[[http.users]]\nname = "ann"\npassword = "{hash_password("secret")}"\n'
    )

    def established(gateway: Gateway, kind: int, secret: bytes = b"") -> bool:
        identity = UserIdentityNegotiation()
        identity.user_identity_type, identity.primary_field = kind, b"ann"
        identity.positive_response_requested = True
        if secret:
            identity.secondary_field = secret
        ae = AE("CT1")
        ae.add_requested_context(VERIFICATION)
        association: Any = ae.associate(gateway.host, gateway.port, ae_title=gateway.aet, ext_neg=[identity])
        if not association.is_established:
            return False
        response = association.acceptor.user_identity
        assert response is not None
        assert response.server_response == b""
        assert association.send_c_echo().Status == 0
        association.release()
        return True

    with Gateway(tmp_path / "data", "--config", str(file)) as gateway:
        assert established(gateway, 2, b"secret")
        assert not established(gateway, 2, b"wrong")
        assert not established(gateway, 1)


@pytest.mark.parametrize("late", [False, True], ids=["valid", "expired"])
def test_storescu_shows_a_token(tmp_path: Path, late: bool) -> None:
    """Type 5, with a positive response asked for."""
    storescu = peers.need("storescu")
    key = RSAKey.generate_key(2048, {"kid": "a"})
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    claims = {"iss": "us", "aud": ["gateway"], "sub": "ann", "exp": int(time.time()) + (-120 if late else 60)}
    (tmp_path / "token").write_text(jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key))
    file = tmp_path / "gateway.toml"
    file.write_text(
        '[dicom]\nuser_identity = "required"\nuser_identity_types = ["token"]\n'
        f'[tokens]\nissuer = "us"\naudience = "gateway"\nkeys = "{tmp_path / "keys.json"}"\n'
    )
    with Gateway(tmp_path / "data", "--config", str(file)) as gateway:
        where = ["-aec", gateway.aet, gateway.host, str(gateway.port), str(sample("CT_small.dcm"))]
        code, said = run(storescu, "--jwt", str(tmp_path / "token"), "-rsp", *where)
        assert (code != 0) is late, said
        wait_until(lambda: ("its token has expired" if late else "user ann") in gateway.log, 5)


async def test_pynetdicom_checks_our_user(tmp_path: Path) -> None:
    from pynetdicom import AE, evt

    seen: list[tuple[int, bytes, bytes]] = []

    def check(event: Any) -> tuple[bool, bytes]:
        seen.append((event.user_id_type, event.primary_field, event.secondary_field or b""))
        return b"wrong" not in (event.primary_field, event.secondary_field), b""

    ae = AE("PEER")
    ae.add_supported_context(VERIFICATION)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_USER_ID, check)])
    try:
        token = tmp_path / "token"
        # It confirms tokens only.
        for shown, proof in ((2, "secret"), (2, "wrong"), (5, "good"), (5, "wrong")):
            token.write_text(proof)
            fields: dict[str, Any] = {"identity_token_file": str(token), "identity_confirmed": True}
            if shown == 2:
                fields = {"identity_name": "ann", "identity_password": proof}
            peer = Modality(aet="PEER", host="127.0.0.1", port=server.server_address[1], **fields)
            node = find_node(Settings(modalities={"peer": peer}), "peer")
            if proof == "wrong":
                with pytest.raises(AssociationRefused, match="rejected"):
                    await echo(node)
            else:
                assert await echo(node) == 0
    finally:
        server.shutdown()
    assert seen == [(2, b"ann", b"secret"), (2, b"ann", b"wrong"), (5, b"good", b""), (5, b"wrong", b"")]
