"""De-identification of one object, bytes in and bytes out (PS3.15 Annex E). Blocking: for a thread."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal

from gateway.config.deidentify import Deidentify
from gateway.dicom import recode
from gateway.dicom.path import AttributePath
from gateway.dicom.source import Inflated, Read
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from gateway.edit.deid import areas, hidden, pixels, seal
from gateway.edit.deid.areas import Area
from gateway.edit.deid.marks import mark
from gateway.edit.deid.profile import Profile
from gateway.edit.deid.rules import Rules
from gateway.edit.edited import Edited, spool
from gateway.edit.tree import Node, Tree, find, put
from gateway.errors import EditError
from gateway.imaging.pixels import INFLATE_LIMIT
from gateway.imaging.transcode import transcode
from gateway.imaging.workspace import ANY, Workspace

SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
MODALITY: Final = 0x00080060
STUDY_INSTANCE_UID: Final = 0x0020000D
SERIES_INSTANCE_UID: Final = 0x0020000E
BURNED_IN: Final = 0x00280301
RECOGNIZABLE: Final = 0x00280302
LOSSY_IMAGE_COMPRESSION: Final = 0x00282110
PIXELS: Final = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_BITS_STORED, _HIGH_BIT = 0x00280101, 0x00280102


class Deidentifier:
    """Applies a profile to any number of objects, in any number of threads."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile

    @classmethod
    def build(cls, section: Deidentify, key: bytes, place: str) -> Deidentifier:
        """Compile a section. Raises ConfigurationError with the setting below `place`."""
        return cls(Profile.build(section, key, place))

    def adapted(
        self,
        *,
        keep: Collection[int] = (),
        remove: Collection[int] = (),
        kept_paths: Collection[AttributePath] = (),
        keep_private: bool = False,
        masked: bool = False,
    ) -> Deidentifier:
        """A variant for one request; see `Profile.adapted`."""
        return Deidentifier(
            self._profile.adapted(
                keep=keep, remove=remove, kept_paths=kept_paths, keep_private=keep_private, masked=masked
            )
        )

    def apply(
        self, read: Read, start: int, end: int, transfer_syntax_uid: str, *, workspace: Workspace = ANY
    ) -> Edited:
        """De-identify the data set that `read` returns from `start` to `end`, spooled in the `workspace` if large.

        All or nothing. Raises: EditError for what must not be sent, with the reason; DataSetError for a malformed
        object, with the place.
        """
        syntax = transfer_syntax(transfer_syntax_uid)
        if syntax.deflated:
            inflated = Inflated(read, start, end, INFLATE_LIMIT)
            read, start, end, syntax = inflated, 0, inflated.size(), EXPLICIT_VR_LITTLE_ENDIAN
        tree = Tree(read, start, end, syntax)
        rules = Rules(self._profile, tree)
        found, device = self._areas(rules, tree)
        mask = _embedded_overlays(tree) if "clean-graphics" not in self._profile.options else None
        originals = list(tree.nodes)
        if found and "clean-graphics" in self._profile.options:
            _clear_overlays(tree, found)
        rules.run()
        hidden.clean(tree, read, syntax)
        sealed = self._seal(read, originals, tree) if self._profile.recipients else []
        altered = bool(found) or mask is not None
        target = pixels.target_of(syntax.uid) if altered else syntax.uid
        if altered and syntax.uid in pixels.LOSSY and not rules.text(LOSSY_IMAGE_COMPRESSION):
            lossy = Node(LOSSY_IMAGE_COMPRESSION, "CS", -1, -1, 2, syntax)
            lossy.fresh = b"01"
            put(tree.nodes, lossy)
        mark(tree, self._profile, pixels_cleaned=device is not None and bool(found), sealed=sealed)
        segments = tree.segments()
        edited = Edited(
            target,
            rules.text(SOP_CLASS_UID),
            rules.text(SOP_INSTANCE_UID),
            rules.text(STUDY_INSTANCE_UID),
            rules.text(SERIES_INSTANCE_UID),
            segments.length,
            segments.read,
            rules.changes,
        )
        if altered:
            alter = pixels.without(found, mask)
            pieces = transcode(segments.read, 0, segments.length, syntax.uid, target, workspace=workspace, alter=alter)
            spool(edited, pieces, workspace.folder)
        return edited

    def _areas(self, rules: Rules, tree: Tree) -> tuple[tuple[Area, ...], areas.Device | None]:
        """The rectangles to clear. Raises EditError when the pixels may show an identity that cannot be cleared."""
        if not any(node.tag in PIXELS for node in reversed(tree.nodes)):
            return (), None
        if rules.text(RECOGNIZABLE) == "YES" and not self._profile.ignore_recognizable:
            raise EditError(
                "RecognizableVisualFeatures is YES: the pixels show a person, which cannot be removed here; set "
                'recognizable = "ignore" to send it all the same'
            )
        device = next((each for each in self._profile.devices if each.matches(rules.text)), None)
        if device is not None:
            return device.areas, device
        burned_in = rules.text(BURNED_IN)
        suspect = burned_in != "NO" and areas.is_suspect(rules.text(MODALITY), rules.text(SOP_CLASS_UID))
        if (burned_in == "YES" or suspect) and not self._profile.ignore_burned_in:
            why = (
                "BurnedInAnnotation is YES"
                if burned_in == "YES"
                else f"{rules.text(MODALITY) or 'such'} images often have text"
            )
            raise EditError(
                f"PixelData: {why} in the pixels, and no rectangles match the device; configure rectangles for it, "
                'or set burned_in = "ignore" to send it all the same; over REST, MaskPixelData masks them, and '
                "BurnedInAnnotation NO says that there is none"
            )
        return (), None

    def _seal(self, read: Read, originals: list[Node], tree: Tree) -> list[tuple[int, str, bytes]]:
        """Encrypt the elements of the data set itself that were changed or removed."""
        remaining = {id(node) for node in tree.nodes if node.fresh is None}
        # All syntaxes that encapsulate pixels are in Explicit VR Little Endian (PS3.5 A.4).
        little = EXPLICIT_VR_LITTLE_ENDIAN.uid
        syntax_uid = little if tree.syntax.encapsulated else tree.syntax.uid
        pieces: list[bytes] = []
        size = 0
        for node in originals:
            if id(node) in remaining or node.tag & 0xFFFF == 0 or node.tag in PIXELS:
                continue
            for piece in recode.recode(read, node.start, node.end, syntax_uid, little):
                size += len(piece)
                if size > seal.MAX_SEALED_BYTES:
                    raise EditError(f"more than {seal.MAX_SEALED_BYTES} bytes would have to be sealed")
                pieces.append(piece)
        return seal.seal(b"".join(pieces), self._profile.recipients)


def _number(tree: Tree, tag: int, default: int) -> int:
    node = find(tree.nodes, tag)
    if node is None or node.length < 2:
        return default
    return int.from_bytes(tree.value(node)[:2], "big" if tree.syntax.big_endian else "little")


def _embedded_overlays(tree: Tree) -> int | None:
    """The mask of the bits that hold pixels, if an overlay is embedded in the others (retired; PS3.5-2004 §8.1.2)."""
    groups = {node.tag >> 16 for node in tree.nodes if 0x6000 <= node.tag >> 16 <= 0x60FF}
    with_data = {node.tag >> 16 for node in tree.nodes if node.tag & 0xFFFF == 0x3000}
    if not any(_number(tree, group << 16 | 0x0102, 0) for group in groups - with_data):
        return None
    stored = _number(tree, _BITS_STORED, 16)
    high = _number(tree, _HIGH_BIT, stored - 1)
    return ((1 << stored) - 1) << max(0, high + 1 - stored)


def _clear_overlays(tree: Tree, found: tuple[Area, ...]) -> None:
    for node in tree.nodes:
        group = node.tag & 0xFFFF0000
        if not 0x60000000 <= group <= 0x60FF0000 or node.tag & 0xFFFF != 0x3000 or node.items is not None:
            continue
        origin = find(tree.nodes, group | 0x50)
        corner = tree.value(origin) if origin is not None else b""
        order: Literal["big", "little"] = "big" if tree.syntax.big_endian else "little"
        numbers = (
            [int.from_bytes(corner[at : at + 2], order, signed=True) for at in (0, 2)] if len(corner) == 4 else [1, 1]
        )
        frames = find(tree.nodes, group | 0x15)
        text = tree.value(frames).strip(b" \0") if frames is not None else b"1"
        turn = tree.syntax.big_endian and node.vr == "OW"
        data = tree.value(node)
        cleared = pixels.clear_plane(
            recode.swapped(data, 2) if turn else data,
            _number(tree, group | 0x10, 0),
            _number(tree, group | 0x11, 0),
            int(text) if text.isdigit() and len(text) <= 12 else 1,
            (numbers[0], numbers[1]),
            found,
        )
        node.fresh = recode.swapped(cleared, 2) if turn else cleared
