"""/plugins: which of Orthanc's plugins have their work done here without being plugins.

Clients look here for what they may call. Plugins themselves, in C, C++, Python, Java or Lua, cannot be loaded.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway import __version__
from gateway.web.rest.answers import json_answer, unknown
from gateway.web.route import SIGNED_IN, Route

_BUILT_IN: Final = {
    "dicom-web": "DICOMweb (QIDO-RS, STOW-RS and WADO-RS) and WADO-URI, built in",
    "pixels-masker": "Regions of pixels are masked by modify and anonymize, built in",
    "worklists": "Modality worklist, built in",
}


async def plugins(_request: web.Request) -> web.StreamResponse:
    """The plugins whose work is built in."""
    return json_answer(sorted(_BUILT_IN))


async def plugin(request: web.Request) -> web.StreamResponse:
    """One of them."""
    name = request.match_info["name"]
    if name not in _BUILT_IN:
        return unknown(request)
    return json_answer(
        {"Description": _BUILT_IN[name], "ExtendsOrthancExplorer": False, "ID": name, "Version": __version__}
    )


ROUTES = (
    Route("GET", "/plugins", plugins, SIGNED_IN),
    Route("GET", "/plugins/{name}", plugin, SIGNED_IN, errors=(404,)),
)
