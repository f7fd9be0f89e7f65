"""Media types of bulk data and pixels (PS3.18 §8.7.3.3): those available for a stored transfer syntax, and the choice.

One table; `frame_obtainable` of `retrieve/frame_index.py` says which conversions the codecs can do. `bulkdata.py` and
`frames.py` produce the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from gateway.http.multipart_writer import MULTIPART
from gateway.retrieve.frame_index import frame_obtainable, wrapped_syntax
from gateway.web.accept import MediaRange, includes, listed
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
"""Names in older editions and other servers."""


class Form(NamedTuple):
    """The form in which pixels or other bulk data are sent."""

    media_type: str
    transfer_syntax: str
    multipart: bool
    encapsulated: bool
    """Each frame is a compressed stream; otherwise uncompressed bytes, little endian."""

    @property
    def content_type(self) -> str:
        return f"{self.media_type}; transfer-syntax={self.transfer_syntax}"


def media_type_of(transfer_syntax: str) -> str:
    """The media type of frames in a transfer syntax; octets if the standard names none."""
    return _OF_SYNTAX.get(transfer_syntax, OCTETS)


def pixel_form(ranges: Sequence[MediaRange], stored: str, *, single: bool) -> Form:
    """The form for pixels stored in a transfer syntax, in the client's order of preference.

    `single`: there is one thing to send, which may be sent without multipart. Raises NotAcceptable, which lists the
    alternatives.
    """
    for media_range in ranges:
        multipart = media_range.covers(MULTIPART)
        if not multipart and not single:
            continue
        found = _offer(_wanted(media_range), media_range.parameters.get("transfer-syntax"), stored)
        if found is not None:
            media_type, uid = found
            return Form(media_type, uid, multipart, _encapsulated(uid))
    raise NotAcceptable(f"these pixels are available as {listed(_there_is(stored))}")


def stored_form(ranges: Sequence[MediaRange], stored: str, like: Form) -> Form | None:
    """The form of frames as stored, for frames that cannot be converted to `like`. None when that is not acceptable: no
    media range covers it, or those that do name another transfer syntax."""
    if not _encapsulated(stored):
        return None
    media_type = media_type_of(stored)
    for media_range in ranges:
        if media_range.media_type != "*/*" and media_range.covers(MULTIPART) != like.multipart:
            continue
        wanted, option = _wanted(media_range), media_range.parameters.get("transfer-syntax")
        if option not in (None, "*", stored) or (wanted == OCTETS and option is None):
            continue
        if wanted == OCTETS or MediaRange(wanted, {}, 1.0).covers(media_type):
            return Form(OCTETS if wanted == OCTETS else media_type, stored, like.multipart, True)
    return None


def _wanted(media_range: MediaRange) -> str:
    """The media type of a part, or of the whole answer without multipart."""
    if not media_range.covers(MULTIPART):
        return _ALIASES.get(media_range.media_type, media_range.media_type)
    named = media_range.parameters.get("type", "*/*").lower()
    return _ALIASES.get(named, named)


def octet_form(ranges: Sequence[MediaRange], media_type: str, *, single: bool) -> Form | None:
    """The form for bulk data other than pixels, in its own media type or as OCTETS. None when neither is acceptable."""
    for media_range in ranges:
        multipart = media_range.covers(MULTIPART)
        if not multipart and not single:
            continue
        wanted = media_range.parameters.get("type", OCTETS).lower() if multipart else media_range.media_type
        for offer in dict.fromkeys((media_type, OCTETS)):
            if includes(wanted, offer):
                return Form(offer, EXPLICIT_VR_LITTLE_ENDIAN.uid, multipart, False)
    return None


def fragment_form(ranges: Sequence[MediaRange], stored: str, *, single: bool) -> Form | None:
    """The form for compressed pixels in a sequence, such as an icon: as stored, since the attributes beside them
    describe that encoding. None when that is not acceptable."""
    for media_range in ranges:
        multipart = media_range.covers(MULTIPART)
        if not multipart and not single:
            continue
        wanted = media_range.parameters.get("type", "*/*").lower() if multipart else media_range.media_type
        wanted = _ALIASES.get(wanted, wanted)
        option = media_range.parameters.get("transfer-syntax")
        for offer in dict.fromkeys((media_type_of(stored), OCTETS)):
            # Octets are uncompressed unless the client names the transfer syntax (§8.7.3.3.2).
            if includes(wanted, offer) and (option in ("*", stored) or (option is None and offer != OCTETS)):
                return Form(offer, stored, multipart, True)
        if option is None and wanted == "*/*":
            return Form(media_type_of(stored), stored, multipart, True)
    return None


def _offer(wanted: str, option: str | None, stored: str) -> tuple[str, str] | None:
    """Media type and transfer syntax for one media range; None if unavailable.

    Without a transfer syntax from the client, the default of the media type is chosen, or the stored one, or the one
    wrapped inside it, if that is of the same type: a lossy JPEG should not be compressed again.
    """
    native = EXPLICIT_VR_LITTLE_ENDIAN.uid
    kept = stored if _encapsulated(stored) else native
    if wanted in COMPRESSED:
        known = COMPRESSED[wanted]
        candidates = [kept, wrapped_syntax(stored), known[0]] if option in (None, "*") else [option or ""]
        return next(((wanted, uid) for uid in candidates if uid in known and frame_obtainable(stored, uid)), None)
    if wanted == OCTETS:
        uid = kept if option == "*" else option or native
        return (OCTETS, uid) if frame_obtainable(stored, uid) else None
    if wanted == "*/*" or wanted == media_type_of(kept).partition("/")[0] + "/*":
        # Uncompressed is the default; pixels that cannot be decoded are sent as stored (§8.7.3.3).
        candidates = [kept] if option == "*" or wanted != "*/*" else [option or native, *[kept] * (option is None)]
    elif wanted in ("image/*", "application/*"):
        candidates = [uid for kind, (uid, *_) in COMPRESSED.items() if kind.startswith("image/")]
        candidates = [native] if wanted == "application/*" else candidates
        candidates = [uid for uid in candidates if option in (None, "*", uid)]
    else:
        return None
    return next(((media_type_of(uid), uid) for uid in candidates if frame_obtainable(stored, uid)), None)


def _there_is(stored: str) -> list[str]:
    kept = stored if _encapsulated(stored) else EXPLICIT_VR_LITTLE_ENDIAN.uid
    forms = [(media_type_of(kept), kept)]
    forms += [(OCTETS, EXPLICIT_VR_LITTLE_ENDIAN.uid)]
    forms += [(kind, uid) for kind, uids in COMPRESSED.items() for uid in uids]
    return [
        f'{MULTIPART}; type="{media_type}"; transfer-syntax={uid}'
        for media_type, uid in dict.fromkeys(forms)
        if frame_obtainable(stored, uid)
    ]


def _encapsulated(uid: str) -> bool:
    syntax = TRANSFER_SYNTAXES.get(uid)
    return syntax is not None and syntax.encapsulated
