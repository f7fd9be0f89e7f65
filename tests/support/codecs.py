"""The table of transfer syntaxes in deploy/TRANSFER-SYNTAXES.md, made from the code's own tables.

`python -m tests.support.codecs` writes it anew; tests/imaging/test_codecs.py fails while the two differ.
"""

from __future__ import annotations

from gateway.dicom import recode
from gateway.dicom.uids import TRANSFER_SYNTAXES
from gateway.imaging.encode import ENCODERS
from gateway.imaging.pixels import VIDEO
from gateway.imaging.transcode import SOURCES, TARGETS
from tests.support.settings import ROOT

DOCUMENT = ROOT / "deploy" / "TRANSFER-SYNTAXES.md"
BEGIN, END = "<!-- codecs: python -m tests.support.codecs -->\n", "<!-- end of codecs -->\n"


def table() -> str:
    """A Markdown table: what can be decoded (and so shown), and encoded."""
    lines = [
        "| transfer syntax | UID | decoded, shown | encoded without loss | encoded with loss |",
        "|---|---|---|---|---|",
    ]
    for uid in sorted(SOURCES, key=lambda uid: [int(part) for part in uid.split(".")]):
        encoder = ENCODERS.get(uid)
        given = _given(uid) if uid in TARGETS else ""
        lossy = "yes" if encoder is not None and encoder.with_loss is not None else ""
        lines.append(f"| {TRANSFER_SYNTAXES[uid].name} | {uid} | yes | {given} | {lossy} |")
    lines.append(f"| MPEG2, MPEG-4 AVC/H.264, HEVC/H.265: {len(VIDEO)} of them | {min(VIDEO)}… | as their stream | | |")
    return "\n".join(lines) + "\n"


def _given(uid: str) -> str:
    """What of it there can be: bits, sign and colours, where that is not everything."""
    encoder = ENCODERS.get(uid)
    if uid in recode.SOURCES or encoder is None:
        return "anything"
    bits = [str(each) for each in encoder.allocated]
    words = [f"{', '.join(bits[:-1])} or {bits[-1]} bits"]
    if not encoder.signed:
        words.append("unsigned")
    if encoder.colours != ("RGB", "YBR_FULL"):
        words.append("grey and " + ", ".join(encoder.colours))
    return ", ".join(words)


def main() -> None:
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(before + BEGIN + table() + END + after)


if __name__ == "__main__":
    main()
