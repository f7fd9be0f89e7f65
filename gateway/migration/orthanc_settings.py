"""An Orthanc's settings translated into ours: what has a counterpart, and for each of them what became of it.

Pure, except for hashing passwords, which blocks for tens of milliseconds for each user.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.access.passwords import hash_password
from gateway.config.destinations import DicomwebDestination, PeerDestination
from gateway.dicom.uids import TRANSFER_SYNTAXES
from gateway.errors import BadRequest
from gateway.migration.extra_tags import translate_extra_tags
from gateway.migration.no_counterpart import NO_COUNTERPART
from gateway.migration.orthanc_defaults import described
from gateway.migration.orthanc_json import Unset
from gateway.migration.translation import Translation
from gateway.remote.http_fields import Section as HttpSection
from gateway.remote.http_fields import read_http, section_of
from gateway.remote.modality_fields import Fields, modality_of, read_modality

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_SYNTAX_FLAGS: Final = {
    "DeflatedTransferSyntaxAccepted": "1.2.840.10008.1.2.1.99",
    "JpegTransferSyntaxAccepted": "1.2.840.10008.1.2.4.5? 1.2.840.10008.1.2.4.6? 1.2.840.10008.1.2.4.70",
    "Jpeg2000TransferSyntaxAccepted": "1.2.840.10008.1.2.4.9[0-3]",
    "JpegLosslessTransferSyntaxAccepted": "1.2.840.10008.1.2.4.8[01]",
    "JpipTransferSyntaxAccepted": "1.2.840.10008.1.2.4.9[45]",
    "Mpeg2TransferSyntaxAccepted": "1.2.840.10008.1.2.4.10[01]",
    "Mpeg4TransferSyntaxAccepted": "1.2.840.10008.1.2.4.10[2-6]",
    "RleTransferSyntaxAccepted": "1.2.840.10008.1.2.5",
    "H265TransferSyntaxAccepted": "1.2.840.10008.1.2.4.10[78]",
}
_ALLOWED_TO_ALL: Final = {
    "DicomAlwaysAllowEcho": ("echo", True),
    "DicomAlwaysAllowStore": ("store", True),
    "DicomAlwaysAllowFind": ("find", False),
    "DicomAlwaysAllowGet": ("get", False),
    "DicomAlwaysAllowMove": ("move", False),
    "DicomAlwaysAllowFindWorklist": ("worklist", False),
}
"""The service that each lets everybody ask for, and Orthanc's default."""
_OF_THE_INDEX: Final = "StorageDirectory IndexDirectory PostgreSQL"
_MAX_PDU: Final = (4 << 10, 16 << 20)


def translate(
    orthanc: Mapping[str, Any],
    base: str,
    *,
    unset: Unset | None = None,
    hashed: Callable[[str], str] = hash_password,
) -> Translation:
    """Translate settings that were read in the folder `base`, to which paths in them are relative.

    `unset` are variables that were not set when they were read. A value that makes no sense is left out, and its fate
    says so. Blocks for each user's password.
    """
    made = _Translator(orthanc, base, unset or {}, hashed).run()
    made.fates = [described(each, orthanc) for each in made.fates]
    return made


class _Translator:
    def __init__(self, orthanc: Mapping[str, Any], base: str, unset: Unset, hashed: Callable[[str], str]) -> None:
        self._orthanc = orthanc
        self._base = base
        self._unset = unset
        self._hashed = hashed
        self._made = Translation()
        self._handled: set[str] = set()

    def run(self) -> Translation:
        made = self._made
        for variable, places in self._unset.items():
            made.left(f"${{{variable}}}", f"it is not set, and empty in {', '.join(places) or 'the configuration'}")
        self._dicom()
        self._tls()
        self._callers()
        self._syntaxes()
        self._http()
        self._users()
        self._several("DicomModalities", self._modality)
        self._several("OrthancPeers", self._peer)
        self._dicomweb()
        self._worklists()
        if self._has("ExtraMainDicomTags"):
            translate_extra_tags(self._orthanc["ExtraMainDicomTags"], made)
        self._names("UserMetadata", made.metadata_names, "metadata are brought under their names")
        self._names("UserContentType", made.attachment_names, "attachments are brought under their names")
        for name in _OF_THE_INDEX.split():
            if self._has(name):
                made.took(name, "where the migration reads")
        for name in ("DicomModalitiesInDatabase", "OrthancPeersInDatabase"):
            if self._has(name):
                made.took(name, "what the index has of them is translated too, where it is read")
        for name in self._orthanc:
            if name not in self._handled:
                made.left(name, NO_COUNTERPART.get(name, "not known here: a plugin's, or misspelt"))
        return made

    def _has(self, name: str) -> bool:
        """Whether the setting is there; it is accounted for then."""
        self._handled.add(name)
        return name in self._orthanc

    def _take(self, name: str, place: str, kind: type, convert: Callable[[Any], Any] = lambda value: value) -> None:
        """Translate one setting to the place of ours where `convert` returns something for its value."""
        if not self._has(name):
            return
        value = self._orthanc[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self._made.left(
                name, f"its value is not {'a number' if kind is int else 'of the right kind'}: {value!r:.60}"
            )
            return
        converted = convert(value)
        if converted is None:
            self._made.left(name, "this value has no counterpart")
        else:
            self._made.put(place, converted)
            self._made.took(name, place)

    def _flag(self, name: str, default: bool) -> bool:
        value = self._orthanc.get(name, default)
        return value if isinstance(value, bool) else default

    def _path(self, text: str) -> str | None:
        return os.path.normpath(Path(self._base) / text) if text else None

    def _dicom(self) -> None:
        """The listener. Orthanc's listens on all addresses, ours only where it is said."""
        self._made.put("dicom.host", "0.0.0.0")
        self._made.put("dicom.aet", "ORTHANC")
        self._take("DicomAet", "dicom.aet", str)
        self._take("DicomCheckCalledAet", "dicom.check_called_aet", bool)
        place = "dicom.tls_port" if self._flag("DicomTlsEnabled", False) else "dicom.port"
        self._take("DicomPort", place, int, lambda port: port if 0 < port < 65536 else None)
        if self._has("DicomServerEnabled"):
            if self._flag("DicomServerEnabled", True):
                self._made.took("DicomServerEnabled", "dicom.port")
            else:
                self._made.put("dicom.port", "off")
                self._made.tree["dicom"].pop("tls_port", None)
                self._made.took("DicomServerEnabled", 'dicom.port = "off"')
        self._take(
            "DicomScpTimeout", "dicom.idle_timeout", int, lambda seconds: float(seconds) if seconds >= 0 else None
        )
        self._take(
            "DicomScuTimeout", "dicom.response_timeout", int, lambda seconds: float(seconds) if seconds > 0 else None
        )
        self._take("UnknownSopClassAccepted", "dicom.accept_unknown_sop_classes", bool)
        self._take(
            "MaximumPduLength", "dicom.max_pdu", int, lambda size: size if _MAX_PDU[0] <= size <= _MAX_PDU[1] else None
        )
        known = {
            "Never": "keep",
            "Always": "overwrite",
            "IfChanged": "overwrite",  # Equal bytes are recognized with every policy here.
        }
        if isinstance(self._orthanc.get("OverwriteInstances"), bool):
            self._take("OverwriteInstances", "storage.duplicates", bool, lambda yes: "overwrite" if yes else "keep")
        else:
            self._take("OverwriteInstances", "storage.duplicates", str, known.get)

    def _tls(self) -> None:
        if self._has("DicomTlsEnabled"):
            on = self._flag("DicomTlsEnabled", False)
            self._made.took("DicomTlsEnabled", "dicom.tls_port" if on else "dicom.port")
        self._take("DicomTlsCertificate", "dicom.tls_certificate", str, self._path)
        self._take("DicomTlsPrivateKey", "dicom.tls_key", str, self._path)
        self._take("DicomTlsTrustedCertificates", "dicom.tls_ca", str, self._path)
        self._take(
            "DicomTlsRemoteCertificateRequired",
            "dicom.tls_client_certificates",
            bool,
            lambda yes: ("required" if yes else "optional") if self._flag("DicomTlsEnabled", False) else None,
        )

    def _callers(self) -> None:
        """The services for callers that are no modality: Orthanc takes images from everybody unless told otherwise."""
        services = [service for name, (service, default) in _ALLOWED_TO_ALL.items() if self._flag(name, default)]
        self._made.put("dicom.allow_any_caller", bool(services))
        self._made.put("dicom.any_caller_may", services or ["echo"])
        for name, (service, _default) in _ALLOWED_TO_ALL.items():
            if self._has(name):
                self._made.took(name, f'dicom.any_caller_may {"has" if service in services else "lacks"} "{service}"')
        if self._has("DicomCheckModalityHost"):
            if self._flag("DicomCheckModalityHost", False):
                self._made.took("DicomCheckModalityHost", "modalities.NAME.host")
            else:
                self._made.left("DicomCheckModalityHost", "a modality may call only from its host here, always")

    def _syntaxes(self) -> None:
        """Orthanc names what is accepted, our settings what is refused."""
        patterns = self._orthanc.get("AcceptedTransferSyntaxes", ["*"])
        patterns = patterns if isinstance(patterns, list) else [patterns]
        accepted = {uid for uid in TRANSFER_SYNTAXES if any(fnmatchcase(uid, str(pattern)) for pattern in patterns)}
        names = ["AcceptedTransferSyntaxes"] if self._has("AcceptedTransferSyntaxes") else []
        for name, uids in _SYNTAX_FLAGS.items():
            if self._has(name):
                names.append(name)
                matching = {uid for uid in TRANSFER_SYNTAXES if any(fnmatchcase(uid, each) for each in uids.split())}
                accepted = accepted | matching if self._flag(name, True) else accepted - matching
        refused = sorted(TRANSFER_SYNTAXES.keys() - accepted)
        if not accepted:
            for name in names:
                self._made.left(name, "no transfer syntax of the standard would be accepted")
            return
        if refused:
            self._made.put("dicom.refused_transfer_syntaxes", refused)
        for name in names:
            self._made.took(name, f"dicom.refused_transfer_syntaxes: {len(refused)} of {len(TRANSFER_SYNTAXES)}")

    def _http(self) -> None:
        remote = self._flag("RemoteAccessAllowed", False)
        self._made.put("http.host", "0.0.0.0" if remote else "127.0.0.1")
        if self._has("RemoteAccessAllowed"):
            hosts = "; name in http.hosts what people type for this machine, other names get 421" if remote else ""
            self._made.took("RemoteAccessAllowed", f"http.host = {self._made.tree['http']['host']}{hosts}")
        if self._has("HttpServerEnabled"):
            if self._flag("HttpServerEnabled", True):
                self._made.took("HttpServerEnabled", "http.port")
            else:
                self._made.put("http.host", "127.0.0.1")
                self._made.left("HttpServerEnabled", "the web server is always on; http.host is 127.0.0.1")
        self._take("HttpPort", "http.port", int, lambda port: port if 0 < port < 65536 else None)
        one = self._orthanc.get("HttpBindAddresses")
        if isinstance(one, list) and len(one) == 1:
            self._take("HttpBindAddresses", "http.host", list, lambda addresses: str(addresses[0]))
        elif self._has("HttpBindAddresses"):
            self._made.left("HttpBindAddresses", "http.host is one address")
        secure = self._flag("SslEnabled", False)
        if self._has("SslEnabled"):
            self._made.took("SslEnabled", "http.certificate" if secure else "no http.certificate")
        if secure:
            self._take("SslCertificate", "http.certificate", str, self._path)
            if "certificate" in self._made.tree["http"]:  # Orthanc has both in one file.
                self._made.put("http.key", self._made.tree["http"]["certificate"])
        elif self._has("SslCertificate"):
            self._made.left("SslCertificate", "SslEnabled is off")

    def _users(self) -> None:
        asked = self._flag("AuthenticationEnabled", self._flag("RemoteAccessAllowed", False))
        users = self._orthanc.get("RegisteredUsers", {})
        if self._has("RegisteredUsers"):
            if not isinstance(users, dict):
                self._made.left("RegisteredUsers", "it is no object of passwords by names")
            elif not asked:
                self._made.left("RegisteredUsers", "AuthenticationEnabled is off, and here users would be asked for")
            else:
                taken = [*self._hashed_users(users)]
                self._made.put("http.users", taken)
                self._made.took("RegisteredUsers", f"http.users: {len(taken)}, with hashes of their passwords")
        nobody = not self._made.tree["http"].get("users")
        if self._has("AuthenticationEnabled"):
            self._made.took("AuthenticationEnabled", "http.users" if asked else "no http.users")
        if self._made.tree["http"]["host"] != "127.0.0.1" and not asked and nobody:
            self._made.put("http.allow_anonymous", True)

    def _hashed_users(self, users: Mapping[str, Any]) -> Iterator[dict[str, str]]:
        """The users with hashes of their passwords. A user without a password would be open to everybody."""
        for name, password in users.items():
            place = f"RegisteredUsers.{name}"
            missing = [f"; ${{{variable}}} is not set" for variable, places in self._unset.items() if place in places]
            if not isinstance(password, str):
                self._made.left(place, "its password is no text")
            elif not password or missing:
                self._made.left(place, f"its password is {'incomplete' if password else 'empty'}{''.join(missing)}")
            else:
                yield {"name": name, "password": self._hashed(password)}

    def _several(self, setting: str, one: Callable[[str, Any, str], None]) -> None:
        """Translate a table of systems, each with a fate of its own."""
        table = self._orthanc.get(setting)
        if self._has(setting):
            if isinstance(table, dict):
                self._each(table, setting, one)
                if not table:
                    self._made.took(setting, "there are none")
            else:
                self._made.left(setting, "it is no object of systems by names")

    def _each(self, table: Mapping[str, Any], setting: str, one: Callable[[str, Any, str], None]) -> None:
        for name, body in table.items():
            try:
                if not _NAME.fullmatch(name):
                    raise BadRequest("a name has letters, digits, - and _ here")
                one(name, body, f"{setting}.{name}")
            except BadRequest as error:
                self._made.left(f"{setting}.{name}", str(error))

    def _modality(self, name: str, body: Any, setting: str) -> None:
        fields = read_modality(body)
        self._put_section(f"modalities.{name}", modality_of(fields))
        other = " (its Manufacturer and RetrieveMethod have no counterpart)"
        special = fields["Manufacturer"] != "Generic" or fields["RetrieveMethod"] != "SystemDefault"
        self._made.took(setting, f"modalities.{name}{other if special else ''}")

    def _peer(self, name: str, body: Any, setting: str) -> None:
        self._system(name, body, setting, functools.partial(section_of, PeerDestination), "peer")

    def _server(self, name: str, body: Any, setting: str) -> None:
        self._system(name, body, setting, functools.partial(section_of, DicomwebDestination), "dicomweb")

    def _system(
        self, name: str, body: Any, setting: str, section_of_fields: Callable[[Fields], HttpSection], tag: str
    ) -> None:
        """A destination over HTTP, with the certificates that only a configuration may name."""
        files: dict[str, str | None] = {}
        if isinstance(body, dict):
            body = dict(body)
            if body.pop("CertificateKeyPassword", ""):
                raise BadRequest("its key has a password; here keys have none: decrypt it and name it in `key`")
            for theirs, ours in (("CertificateFile", "certificate"), ("CertificateKeyFile", "key")):
                files[ours] = self._path(str(body.pop(theirs, "")))
        if isinstance(authorities := self._orthanc.get("HttpsCACertificates"), str):
            files["ca"] = self._path(authorities)
        timeout = self._orthanc.get("HttpTimeout")
        fields = read_http(body)
        section = section_of_fields(fields)
        place = f"destinations.{name}"
        if name in self._made.tree.get("destinations", {}):
            place = f"destinations.{name}-{tag}"
        self._made.put(place, {"kind": tag})
        self._put_section(place, section)
        if not fields["Timeout"] and isinstance(timeout, int) and timeout > 0:
            self._made.put(f"{place}.timeout", float(timeout))
        for ours, path in files.items():
            if path:
                self._made.put(f"{place}.{ours}", path)
        self._made.took(setting, place)

    def _put_section(self, place: str, section: Any) -> None:
        """Set what differs from the defaults of a section."""
        for each in msgspec.structs.fields(section):
            value = getattr(section, each.name)
            if value != each.default:
                self._made.put(f"{place}.{each.name}", list(value) if isinstance(value, tuple) else value)

    def _dicomweb(self) -> None:
        for name in ("HttpsCACertificates", "HttpTimeout"):
            if self._has(name):
                self._made.took(name, f"destinations.NAME.{'ca' if 'CA' in name else 'timeout'}")
        if self._has("HttpsVerifyPeers"):
            if self._flag("HttpsVerifyPeers", True):
                self._made.took("HttpsVerifyPeers", "certificates are always checked")
            else:
                self._made.left("HttpsVerifyPeers", "certificates are always checked: name their authority in `ca`")
        section = self._orthanc.get("DicomWeb")
        if not self._has("DicomWeb"):
            return
        if not isinstance(section, dict) or not section:
            self._made.left("DicomWeb", "it has no settings")
            return
        for name, value in section.items():
            if name == "Servers" and isinstance(value, dict):
                self._each(value, "DicomWeb.Servers", self._server)
            elif name == "Root" and str(value).strip("/") == "dicom-web":
                self._made.took("DicomWeb.Root", "/dicom-web")
            elif name == "Enable":
                self._made.took("DicomWeb.Enable", "DICOMweb is always on")
            else:
                self._made.left(f"DicomWeb.{name}", "DICOMweb is at /dicom-web, with the settings of [dicomweb]")

    def _worklists(self) -> None:
        section = self._orthanc.get("Worklists")
        if not self._has("Worklists"):
            return
        folder = section.get("Database") or section.get("Directory") if isinstance(section, dict) else None
        if isinstance(section, dict) and section.get("Enable") is True and isinstance(folder, str) and folder:
            self._made.put("worklist.folder", self._path(folder))
            self._made.took("Worklists", "worklist.folder")
        else:
            self._made.left("Worklists", "it is not enabled, or names no folder")

    def _names(self, setting: str, names: dict[int, str], text: str) -> None:
        """Names of numbers: a number for each name, or a list of number and media type."""
        table = self._orthanc.get(setting)
        if not self._has(setting):
            return
        for name, number in table.items() if isinstance(table, dict) else ():
            number = number[0] if isinstance(number, list) and number else number
            if isinstance(number, int) and not isinstance(number, bool) and 1024 <= number <= 65535:
                names[number] = name
            else:
                self._made.left(f"{setting}.{name}", f"{number!r:.40} is no number from 1024 to 65535")
        self._made.took(setting, text)
