"""Media types of bulk data and pixels (PS3.18 §8.7.3.3): which there are for a stored transfer syntax, and the choice.

One table; what can be made from what says `archive/pixels.py`'s `frame_obtainable`, from the codecs that there are.
Bytes are made in `bulkdata.py` and `frames.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.archive.pixels import frame_obtainable
from gateway.archive.retrieve import EXPLICIT_VR_LITTLE_ENDIAN
from gateway.dicom.uids import TRANSFER_SYNTAXES
from gateway.web.accept import MediaRange, listed
from gateway.web.dicomweb.multipart import MULTIPART
from gateway.web.errors import NotAcceptable

OCTETS: Final = "application/octet-stream"

_JPEG: Final = "1.2.840.10008.1.2.4."
COMPRESSED: Final[dict[str, tuple[str, ...]]] = {
    "image/jpeg": tuple(_JPEG + end for end in ("70", "50", "51", "57")),
    "image/dicom-rle": ("1.2.840.10008.1.2.5",),
    "image/jls": (_JPEG + "80", _JPEG + "81"),
    "image/jp2": (_JPEG + "90", _JPEG + "91"),
    "image/jpx": (_JPEG + "92", _JPEG + "93"),
    "image/jphc": (_JPEG + "201", _JPEG + "202", _JPEG + "203"),
    "image/jxl": (_JPEG + "110", _JPEG + "111", _JPEG + "112"),
    "video/mpeg": tuple(_JPEG + end for end in ("100", "100.1", "101", "101.1")),
    "video/mp4": tuple(
        _JPEG + end
        for number in ("102", "103", "104", "105", "106", "107", "108")
        for end in ((number, f"{number}.1") if number < "107" else (number,))
    ),
}
"""Media type to transfer syntaxes, the default one first (PS3.18 Table 8.7.3-5)."""
_OF_SYNTAX: Final = {uid: media_type for media_type, uids in COMPRESSED.items() for uid in uids}
_ALIASES: Final = {
    "image/x-dicom-rle": "image/dicom-rle",
    "image/x-jls": "image/jls",
    "image/jphcs": "image/jphc",
    "video/mpeg2": "video/mpeg",
    "video/h265": "video/mp4",
}
"""As older editions and other servers have them."""


class Form(NamedTuple):
    """What pixels or other bulk data are sent as."""

    media_type: str
    transfer_syntax: str
    multipart: bool
    encapsulated: bool
    """Frame by frame, each a compressed stream; otherwise uncompressed bytes, little endian."""

    @property
    def content_type(self) -> str:
        return f"{self.media_type}; transfer-syntax={self.transfer_syntax}"


def media_type_of(transfer_syntax: str) -> str:
    """The media type of frames stored like this; octets where the standard names none."""
    return _OF_SYNTAX.get(transfer_syntax, OCTETS)


def pixel_form(ranges: Sequence[MediaRange], stored: str, *, single: bool) -> Form:
    """The form for pixels that are stored in a transfer syntax, by the client's order.

    `single`: there is one thing to send, which may come without multipart where the client asks for that. Raises
    NotAcceptable, which says what there is.
    """
    for media_range in ranges:
        multipart = media_range.covers(MULTIPART)
        if not multipart and not single:
            continue
        wanted = media_range.parameters.get("type", "*/*" if media_range.media_type == "*/*" else OCTETS)
        wanted = wanted.lower() if multipart else media_range.media_type
        wish = media_range.parameters.get("transfer-syntax")
        found = _offer(_ALIASES.get(wanted, wanted), wish, stored)
        if found is not None:
            media_type, uid = found
            return Form(media_type, uid, multipart, _encapsulated(uid))
    raise NotAcceptable(f"these pixels can be had as {listed(_there_is(stored))}")


def octet_form(ranges: Sequence[MediaRange], media_type: str, *, single: bool) -> Form | None:
    """The form for bulk data that is no pixels, of a media type of its own or OCTETS. None where none is acceptable."""
    for media_range in ranges:
        multipart = media_range.covers(MULTIPART)
        if not multipart and not single:
            continue
        wanted = media_range.parameters.get("type", OCTETS).lower() if multipart else media_range.media_type
        for offer in dict.fromkeys((media_type, OCTETS)):
            if MediaRange(wanted, {}, 1.0).covers(offer):
                return Form(offer, EXPLICIT_VR_LITTLE_ENDIAN, multipart, False)
    return None


def _offer(wanted: str, wish: str | None, stored: str) -> tuple[str, str] | None:
    """Media type and transfer syntax for one media range, where it can be had.

    Where the client names no transfer syntax it is the default of the media type, or the stored one where that is of
    the same type: nobody wants a lossy JPEG coded again.
    """
    native = EXPLICIT_VR_LITTLE_ENDIAN
    kept = stored if _encapsulated(stored) else native
    if wanted in COMPRESSED:
        known = COMPRESSED[wanted]
        candidates = [kept, known[0]] if wish in (None, "*") else [wish or ""]
        return next(((wanted, uid) for uid in candidates if uid in known and frame_obtainable(stored, uid)), None)
    if wanted == OCTETS:
        uid = kept if wish == "*" else wish or native
        return (OCTETS, uid) if frame_obtainable(stored, uid) else None
    if wanted == "*/*" or wanted == media_type_of(kept).partition("/")[0] + "/*":
        # Uncompressed is the default, what cannot be decoded comes as it is (§8.7.3.3).
        candidates = [kept] if wish == "*" or wanted != "*/*" else [wish or native, *[kept] * (wish is None)]
    elif wanted in ("image/*", "application/*"):
        candidates = [uid for kind, (uid, *_) in COMPRESSED.items() if kind.startswith("image/")]
        candidates = [native] if wanted == "application/*" else candidates
        candidates = [uid for uid in candidates if wish in (None, "*", uid)]
    else:
        return None
    return next(((media_type_of(uid), uid) for uid in candidates if frame_obtainable(stored, uid)), None)


def _there_is(stored: str) -> list[str]:
    kept = stored if _encapsulated(stored) else EXPLICIT_VR_LITTLE_ENDIAN
    forms = [(media_type_of(kept), kept)]
    forms += [(OCTETS, EXPLICIT_VR_LITTLE_ENDIAN)]
    forms += [(kind, uid) for kind, uids in COMPRESSED.items() for uid in uids]
    return [
        f'{MULTIPART}; type="{media_type}"; transfer-syntax={uid}'
        for media_type, uid in dict.fromkeys(forms)
        if frame_obtainable(stored, uid)
    ]


def _encapsulated(uid: str) -> bool:
    syntax = TRANSFER_SYNTAXES.get(uid)
    return syntax is not None and syntax.encapsulated
