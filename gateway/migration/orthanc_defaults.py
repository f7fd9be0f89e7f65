"""Values that settings of Orthanc have anyway: those of its sample configuration, which Debian installs (1.10 to 1.12).

What somebody has decided is what differs from them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from gateway.migration.translation import Fate

_BY_VALUE: Final[Sequence[tuple[Any, str]]] = (
    (
        True,
        "HttpServerEnabled OrthancExplorerEnabled HttpDescribeErrors WebDavEnabled WebDavUploadAllowed "
        "DicomServerEnabled DicomTlsRemoteCertificateRequired DicomAlwaysAllowEcho DicomAlwaysAllowStore "
        "HttpsVerifyPeers StoreMD5ForAttachments KeepAlive TcpNoDelay StoreDicom LoadPrivateDictionary "
        "SynchronousCMove SaveJobs MetricsEnabled TranscodeDicomProtocol IngestTranscodingOfUncompressed "
        "IngestTranscodingOfCompressed SyncStorageArea DeidentifyLogs SynchronousZipStream "
        "DeflatedTransferSyntaxAccepted JpegTransferSyntaxAccepted Jpeg2000TransferSyntaxAccepted "
        "JpegLosslessTransferSyntaxAccepted JpipTransferSyntaxAccepted Mpeg2TransferSyntaxAccepted "
        "Mpeg4TransferSyntaxAccepted RleTransferSyntaxAccepted H265TransferSyntaxAccepted "
        "DicomWeb.Enable DicomWeb.EnableWado",
    ),
    (
        False,
        "StorageCompression WebDavDeleteAllowed DicomCheckCalledAet UnknownSopClassAccepted RemoteAccessAllowed "
        "SslEnabled SslVerifyPeers DicomTlsEnabled DicomAlwaysAllowFind DicomAlwaysAllowFindWorklist "
        "DicomAlwaysAllowGet DicomAlwaysAllowMove DicomModalitiesInDatabase DicomEchoChecksFind "
        "OrthancPeersInDatabase HttpVerbose StrictAetComparison LogExportedResources CaseSensitivePN "
        "OverwriteInstances ExecuteLuaEnabled CheckRevisions ReadOnly RestApiWriteToFileSystemEnabled DicomWeb.Ssl",
    ),
    ({}, "RegisteredUsers DicomModalities OrthancPeers UserMetadata UserContentType Dictionary ServeFolders"),
    ([], "LuaScripts"),
    (["1.2.840.10008.1.*"], "AcceptedTransferSyntaxes"),
    (0, "MaximumStorageSize MaximumPatientCount LimitFindResults LimitFindInstances ZipLoaderThreads"),
    (1, "MediaArchiveSize"),
    (2, "ConcurrentJobs"),
    (4, "SslMinimumProtocolVersion DicomThreadsCount"),
    (5, "DicomAssociationCloseDelay MallocArenaMax"),
    (10, "DicomScuTimeout JobsHistorySize"),
    (30, "DicomScpTimeout HttpRequestTimeout"),
    (50, "HttpThreadsCount"),
    (60, "HttpTimeout StableAge"),
    (90, "DicomLossyTranscodingQuality"),
    (100, "QueryRetrieveSize StorageCommitmentReportsSize"),
    (128, "MaximumStorageCacheSize"),
    (4242, "DicomPort"),
    (8042, "HttpPort"),
    (16384, "MaximumPduLength"),
    ("", "HttpProxy HttpsCACertificates DefaultPrivateCreator"),
    ("1.2.840.10008.1.2.1", "DicomScuPreferredTransferSyntax"),
    ("2021b", "DeidentifyLogsDicomVersion"),
    ("After", "BuiltinDecoderTranscoderOrder"),
    ("Always", "StorageAccessOnFind"),
    ("Latin1", "DefaultEncoding"),
    ("ORTHANC", "DicomAet"),
    ("Orthanc", "Name"),
    ("Recycle", "MaximumStorageMode"),
    ("certificate.pem", "SslCertificate"),
    ("trustedClientCertificates.pem", "SslTrustedClientCertificates"),
    ("/dicom-web/", "DicomWeb.Root"),
    ("/wado", "DicomWeb.WadoRoot"),
    ("localhost", "DicomWeb.Host"),
)
_DEFAULTS: Final = {name: value for value, names in _BY_VALUE for name in names.split()}
"""Without HttpCompressionEnabled, whose default has changed, and DicomCheckModalityHost, which is different here."""
_SECRET: Final = re.compile("password|secret|token|key|credential|license|proxy|ur[il]$|connection", re.IGNORECASE)
"""Names of settings whose values are not shown; those of systems are in tables, of which none is shown."""
_MAX_SHOWN: Final = 60
"""Characters of a value that are shown."""


def described(fate: Fate, orthanc: Mapping[str, Any]) -> Fate:
    """A fate with the value of its setting, and whether that is Orthanc's default."""
    section, _, below = fate.setting.partition(".")
    if section not in orthanc or (below and section != "DicomWeb"):
        return fate
    value = orthanc[section]
    if below:
        value = value.get(below) if isinstance(value, dict) else None
    # False is 0 in Python, but not in JSON.
    default = _DEFAULTS.get(fate.setting)
    is_default = default is not None and type(value) is type(default) and value == default
    if section == "Worklists":
        is_default = isinstance(value, dict) and value.get("Enable") is False
    return replace(fate, value=_shown(fate.setting, value), is_default=is_default)


def _shown(setting: str, value: object) -> str:
    items = value if isinstance(value, list) else [value]
    plain = all(item is None or isinstance(item, (str, int, float)) for item in items)
    if not plain or _SECRET.search(setting) or (setting.startswith("DicomWeb.") and isinstance(value, list)):
        return ""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"
