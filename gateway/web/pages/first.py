"""The suggestion on the empty page: a command that sends a first image, and that this gateway would not reject.

DCMTK's storescu if the reader's machine may send by DICOM under some AE title; otherwise an upload to the address at
which the reader sees the page. `access/callers.py` decides who may send.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
import shlex
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from gateway.access.callers import CallerFacts, NotRecognized, recognize
from gateway.access.hosts import host_name
from gateway.config import Settings, as_network, is_loopback
from gateway.config.added import configured_modalities
from gateway.web.context import CONTEXT, USER
from gateway.web.urls import url_template

_STORESCU: Final = "STORESCU"
"""The default AE title of DCMTK's storescu."""
_MAX_TRIED: Final = 50
"""Modalities tried at most."""
_PLAIN: Final = re.compile(r"[\w.:/@%+=,-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class First:
    """The suggested way to send a first image."""

    command: str
    tool: str
    """The program of `command`, in words."""
    is_open: bool
    """Whether a device that is not in the settings may send."""
    aet: str
    host: str
    port: int


async def suggest(request: web.Request) -> First:
    """The suggestion for the reader of the page."""
    context = request.app[CONTEXT]
    settings, port = context.settings(), context.ports[0]
    dicom, host = settings.dicom, _dicom_host(request, settings.dicom.host)
    # A listener on loopback receives from this machine alone, wherever the reader is.
    sender = "127.0.0.1" if is_loopback(dicom.host) else request.remote or ""
    caller = await _caller(settings, sender) if port else None
    if caller is None:
        user = ["-u", request[USER]] if USER in request else []
        command = ["curl", *user, "--data-binary", "@image.dcm", url_template(request, "upload")]
        tool = "curl"
    else:
        ours = [] if caller == _STORESCU else ["-aet", caller]
        command = ["storescu", "-v", *ours, "-aec", dicom.aet.strip(), host, str(port), "image.dcm"]
        tool = "DCMTK"
    is_open = dicom.allow_any_caller or (not configured_modalities(settings) and is_loopback(dicom.host))
    return First(" ".join(map(_shell_word, command)), tool, is_open, dicom.aet.strip(), host, port)


async def _caller(settings: Settings, sender: str) -> str | None:
    """An AE title under which the machine at `sender` may store without TLS and without an identity; None for none."""
    if settings.dicom.user_identity == "required":
        return None
    try:
        ipaddress.ip_address(sender.partition("%")[0])
    except ValueError:
        return None
    # A modality with a host name is skipped: a page does not wait for names to be resolved.
    known = (
        each.aet
        for each in settings.modalities.values()
        if not each.tls and each.user_identity != "required" and (not each.host or as_network(each.host) is not None)
    )
    named = {each.aet for each in settings.modalities.values()}
    titles = [] if _STORESCU in named else [_STORESCU]
    for aet in itertools.islice(itertools.chain(titles, known), _MAX_TRIED):
        try:
            caller = await recognize(settings, CallerFacts(aet, sender))
        except NotRecognized:
            continue
        if "store" in caller.may:
            return aet
    return None


def _dicom_host(request: web.Request, listening: str) -> str:
    """The host for a device to send to: the host name of the request, if the listener is not on loopback."""
    if is_loopback(listening):
        return listening
    return listening if listening not in ("0.0.0.0", "::", "") else host_name(request.host)


def _shell_word(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else shlex.quote(text)
