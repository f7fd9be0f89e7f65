"""The state of the gateway: /system, /statistics, /associations.

/system and /statistics answer as Orthanc does. Orthanc has no /associations.
"""

from __future__ import annotations

import functools
import platform
import sqlite3
import ssl
from importlib import metadata
from typing import Final

from aiohttp import web

from gateway import __version__
from gateway.dicom.levels import LEVELS
from gateway.index.summary import statistics as read_statistics
from gateway.net.association_record import as_json
from gateway.web.context import CONTEXT
from gateway.web.rest.answers import json_answer
from gateway.web.rest.names import shown_tags, tag_text
from gateway.web.route import SIGNED_IN, Route

ORTHANC_VERSION: Final = ("1.13.0", 31)
"""`Version` and `ApiVersion`: of the Orthanc whose REST API clients may count on. By these they choose their calls."""
_DATABASE_VERSION = 6
_LIBRARIES: Final = ("aiohttp", "cryptography", "imagecodecs", "msgspec", "numpy", "pillow", "pydicom")


async def system(request: web.Request) -> web.Response:
    """The name of the gateway, and the ports on which it listens."""
    context = request.app[CONTEXT]
    settings = context.settings()
    dicom_port, http_port = context.ports
    version, api_version = ORTHANC_VERSION
    return json_answer(
        {
            "ApiVersion": api_version,
            "Capabilities": {
                "HasExtendedChanges": True,
                "HasExtendedFind": True,
                "HasKeyValueStores": False,
                "HasQueues": False,
                "HasReserveQueueValue": False,
            },
            "CheckRevisions": False,
            "DatabaseBackendPlugin": None,
            "DatabaseServerIdentifier": "",
            "DatabaseVersion": _DATABASE_VERSION,
            "DicomAet": settings.dicom.aet,
            "DicomDefaultRetrieveMethod": "C-MOVE",
            "DicomPort": dicom_port,
            "GatewayVersion": __version__,
            "HasLabels": True,
            "HttpPort": http_port,
            "IngestTranscoding": "",
            "IsHttpServerSecure": bool(settings.http.certificate or settings.needs_sign_in),
            "MainDicomTags": {
                level.capitalize(): ";".join(map(tag_text, sorted(shown_tags(level)))) for level in LEVELS
            },
            "MaximumPatientCount": 0,
            "MaximumStorageMode": "Reject",
            "MaximumStorageSize": 0,
            "Name": settings.dicom.aet,
            "OverwriteInstances": settings.storage.duplicates == "overwrite",
            "OverwriteInstancesMode": "IfChanged" if settings.storage.duplicates == "overwrite" else "Never",
            "PatientLevelEnabled": True,
            "Performance": {},
            "PluginsEnabled": True,
            "ReadOnly": False,
            "StorageAreaPlugin": None,
            "StorageCompression": False,
            "StoreMD5ForAttachments": False,
            "ThirdPartyPatches": {},
            "ThirdPartyVersions": _third_party_versions(),
            "UserMetadata": {},
            "Version": version,
        }
    )


@functools.cache
def _third_party_versions() -> dict[str, str]:
    """The versions of what reads objects, pixels and requests of others."""
    return {
        **{name: metadata.version(name) for name in _LIBRARIES},
        "openssl": ssl.OPENSSL_VERSION,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }


async def statistics(request: web.Request) -> web.Response:
    """The number of resources and the size of all files, attached ones too, which are not compressed."""
    found = await read_statistics(request.app[CONTEXT].database)
    size = found.size + found.attached
    return json_answer(
        {
            "CountInstances": found.instances,
            "CountPatients": found.patients,
            "CountSeries": found.series,
            "CountStudies": found.studies,
            "TotalDiskSize": str(size),
            "TotalDiskSizeMB": size // (1 << 20),
            "TotalUncompressedSize": str(size),
            "TotalUncompressedSizeMB": size // (1 << 20),
        }
    )


async def associations(request: web.Request) -> web.Response:
    """The open DICOM associations. `Since` is in seconds since 1970; `Bytes` are those of data sets."""
    return json_answer(
        [
            {
                "Bytes": each.bytes,
                "CalledAet": each.called_aet,
                "CallingAet": each.calling_aet,
                "Host": each.host,
                "Instances": each.instances,
                "Number": each.number,
                "Since": round(each.since, 3),
                "State": each.state,
            }
            for each in request.app[CONTEXT].associations()
        ]
    )


async def association_records(request: web.Request) -> web.Response:
    """The negotiation and the end of open and of the last ended associations, newest first.

    `Outcome` is `open`, `released`, `aborted`, `closed`, `rejected`, or `failed` for a connection that asked for none.
    `Result` of a context is that of PS3.8 Table 9-18, -1 where there was no answer.
    """
    return json_answer([as_json(each) for each in request.app[CONTEXT].records()])


ROUTES = (
    Route("GET", "/system", system, SIGNED_IN, name="system"),
    Route("GET", "/statistics", statistics, "view"),
    Route("GET", "/associations", associations, "settings"),
    Route("GET", "/associations/records", association_records, "settings"),
)
