"""What this gateway is and holds, and who is connected: /system, /statistics, /associations.

The first two answer as Orthanc does. /associations is ours, in the same style.
"""

from __future__ import annotations

from aiohttp import web

from gateway import __version__
from gateway.index.summary import statistics as read_statistics
from gateway.web.context import CONTEXT
from gateway.web.rest.answers import json_answer

_API_VERSION = 16
"""The version of Orthanc's REST API (1.10.1) whose shapes these are."""
_DATABASE_VERSION = 6


async def system(request: web.Request) -> web.Response:
    """What this gateway is called, and where it listens."""
    context = request.app[CONTEXT]
    settings = context.settings()
    dicom_port, http_port = context.ports()
    return json_answer(
        {
            "ApiVersion": _API_VERSION,
            "CheckRevisions": False,
            "DatabaseBackendPlugin": None,
            "DatabaseVersion": _DATABASE_VERSION,
            "DicomAet": settings.dicom.aet,
            "DicomPort": dicom_port,
            "HttpPort": http_port,
            "IsHttpServerSecure": bool(settings.http.certificate or settings.http.users),
            "Name": settings.dicom.aet,
            "PluginsEnabled": False,
            "StorageAreaPlugin": None,
            "Version": __version__,
        }
    )


async def statistics(request: web.Request) -> web.Response:
    """How much there is. Sizes are those of the files; they are not compressed, so both are the same."""
    found = await read_statistics(request.app[CONTEXT].database)
    return json_answer(
        {
            "CountInstances": found.instances,
            "CountPatients": found.patients,
            "CountSeries": found.series,
            "CountStudies": found.studies,
            "TotalDiskSize": str(found.size),
            "TotalDiskSizeMB": found.size // (1 << 20),
            "TotalUncompressedSize": str(found.size),
            "TotalUncompressedSizeMB": found.size // (1 << 20),
        }
    )


async def associations(request: web.Request) -> web.Response:
    """Who is connected over DICOM now. `Since` in seconds since 1970, `Bytes` of data sets."""
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
