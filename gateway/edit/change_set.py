"""A change set, compiled once for any number of objects and threads: de-identification, steps, transfer syntax.

No asyncio, and no input except by `read`: blocking, for a thread. Every generated value is a function of the object,
the set and its key, so that a repetition, or another gateway with the same key, generates the same.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from gateway.config.edits import Changes
from gateway.dicom.source import Inflated, Read
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, name_of, transfer_syntax
from gateway.dicom.walk import PIXEL_DATA
from gateway.edit.deid.deidentify import Deidentifier
from gateway.edit.deid.keyed import Keyed
from gateway.edit.deid.pixels import target_of
from gateway.edit.draft import Draft
from gateway.edit.edited import Edited, spool
from gateway.edit.masks import Region, alteration
from gateway.edit.originals import keep_originals
from gateway.edit.steps import KEYED, Apply, compile_step
from gateway.edit.tree import Tree, find
from gateway.errors import ConfigurationError, EditError, UnsupportedTransferSyntax
from gateway.imaging import derived
from gateway.imaging.encode import ENCODERS
from gateway.imaging.pixels import INFLATE_LIMIT
from gateway.imaging.transcode import SOURCES, TARGETS, Alter, transcode
from gateway.imaging.workspace import ANY, Workspace

MAX_STEPS: Final = 1000
SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
STUDY_INSTANCE_UID: Final = 0x0020000D
SERIES_INSTANCE_UID: Final = 0x0020000E


class Received(NamedTuple):
    """The reception of an object, for the record of its former values."""

    calling_aet: str
    received_at: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class ChangeSet:
    name: str
    version: str
    """12 hexadecimal digits that change with the content of the set and with its key."""
    _deidentifier: Deidentifier | None
    _steps: tuple[Apply, ...]
    _keep_originals: bool
    _target: str
    _quality: int | None
    _key: bytes
    _other_instances: bool = False
    """Whether the results are other instances, even without loss."""
    _regions: tuple[Region, ...] = ()
    """What is masked of the pixels."""

    @property
    def deidentifies(self) -> bool:
        return self._deidentifier is not None

    @classmethod
    def build(cls, name: str, section: Changes) -> ChangeSet:
        """Compile a section; reads the files that it names. Raises ConfigurationError with the place and the remedy."""
        place = f"changes.{name}"
        key = _key(section, place)
        hides = section.deidentify is not None or any(isinstance(step, KEYED) for step in section.steps)
        if hides and not key:
            raise ConfigurationError(
                f"{place}.key: what the set does needs a key; set {place}.key_file; make the file with: "
                "openssl rand -hex 32 > FILE"
            )
        if section.deidentify is None and not section.steps and not section.transfer_syntax:
            raise ConfigurationError(f"{place}: changes nothing; add [[{place}.steps]] or [{place}.deidentify]")
        if len(section.steps) > MAX_STEPS:
            raise ConfigurationError(f"{place}.steps: {len(section.steps)} steps, at most {MAX_STEPS} are possible")
        if section.original_attributes and hides:
            raise ConfigurationError(f"{place}.original_attributes: would show what the set hides; leave it out")
        try:
            keyed = Keyed(key) if key else None
        except ConfigurationError as error:
            raise ConfigurationError(f"{place}.key: {error}") from None
        _check_target(section, place)
        deidentifier = None
        if section.deidentify is not None:
            deidentifier = Deidentifier.build(section.deidentify, key, f"{place}.deidentify")
        return cls(
            name,
            _version(section, key),
            deidentifier,
            tuple(compile_step(step, keyed, f"{place}.steps[{at}]") for at, step in enumerate(section.steps)),
            section.original_attributes,
            section.transfer_syntax,
            section.quality,
            key,
        )

    @classmethod
    def of_steps(
        cls,
        name: str,
        steps: Sequence[Apply],
        *,
        key: bytes,
        deidentifier: Deidentifier | None = None,
        transfer_syntax: str = "",
        quality: int | None = None,
        other_instances: bool = False,
        regions: tuple[Region, ...] = (),
    ) -> ChangeSet:
        """Make a set of steps that are compiled already; `other_instances` says whether they change SOP Instance UIDs.

        The `regions` of the pixels are masked.
        Raises ConfigurationError for a transfer syntax that cannot be made.
        """
        _check_target(Changes(transfer_syntax=transfer_syntax, quality=quality), name)
        return cls(name, "", deidentifier, tuple(steps), False, transfer_syntax, quality, key, other_instances, regions)

    def with_transfer_syntax(self, uid: str, quality: int | None) -> ChangeSet:
        """Make the same changes into another transfer syntax. Raises ConfigurationError where it cannot be made."""
        _check_target(Changes(transfer_syntax=uid, quality=quality), self.name)
        return replace(self, _target=uid, _quality=quality)

    def apply(
        self,
        read: Read,
        start: int,
        end: int,
        transfer_syntax_uid: str,
        *,
        received: Received | None = None,
        workspace: Workspace = ANY,
    ) -> Edited:
        """Apply the set to the data set that `read` returns from `start` to `end`; large results are spooled in the
        `workspace`.

        Without `received` the change counts as made now, by hand: a repetition then differs in its time alone. The
        source must stay open until the result is closed. All or nothing. Raises: EditError for what cannot be changed,
        or must not be sent, with its place; DataSetError for a malformed object; UnsupportedTransferSyntax;
        StorageError.
        """
        first: Edited | None = None
        received = received or Received("", time.time())
        if self._deidentifier is not None:
            first = self._deidentifier.apply(read, start, end, transfer_syntax_uid, workspace=workspace)
            read, start, end, transfer_syntax_uid = first.read, 0, first.length, first.transfer_syntax_uid
        try:
            edited, has_pixels, alter = self._stepped(read, start, end, transfer_syntax_uid, received)
            if alter is not None:
                _alter(edited, alter, workspace)
            if self._target and (has_pixels or not transfer_syntax(self._target).encapsulated):
                self._transcode(edited, workspace)
        except BaseException:
            if first is not None:
                first.close()
            raise
        return _after(first, edited) if first is not None else edited

    def _stepped(
        self, read: Read, start: int, end: int, transfer_syntax_uid: str, received: Received
    ) -> tuple[Edited, bool, Alter | None]:
        """The object after all steps, whether it has Pixel Data, and what is still to be done to these; byte for byte
        the same if no step changed it."""
        syntax = transfer_syntax(transfer_syntax_uid)
        source, first, last = read, start, end
        if syntax.deflated:
            inflated = Inflated(read, start, end, INFLATE_LIMIT)
            source, first, last, syntax = inflated, 0, inflated.size(), EXPLICIT_VR_LITTLE_ENDIAN
        tree = Tree(source, first, last, syntax)
        draft = Draft(tree)
        alter = alteration(self._regions, draft) if self._regions else None
        for step in self._steps:
            step(draft)
        sop_class, sop_instance = draft.top(SOP_CLASS_UID), draft.top(SOP_INSTANCE_UID)
        study, series = draft.top(STUDY_INSTANCE_UID), draft.top(SERIES_INSTANCE_UID)
        if draft.changed:
            if not (sop_class and sop_instance):
                raise EditError("the changed object does not say which SOP instance it is")
            draft.drop_group_lengths()
            if self._keep_originals:
                keep_originals(draft, received.calling_aet, received.received_at)
            segments = tree.segments()
            changes = tuple(draft.changes)
            edited = Edited(
                syntax.uid, sop_class, sop_instance, study, series, segments.length, segments.read, lambda: changes
            )
        else:

            def verbatim(offset: int, length: int) -> bytes:
                return read(start + offset, min(length, end - start - offset)) if 0 <= offset < end - start else b""

            edited = Edited(transfer_syntax_uid, sop_class, sop_instance, study, series, end - start, verbatim, tuple)
        return edited, find(tree.nodes, PIXEL_DATA) is not None, alter

    def _transcode(self, edited: Edited, workspace: Workspace) -> None:
        source, target = edited.transfer_syntax_uid, self._target
        key = None if self._other_instances else self._key
        if source == target and self._quality is None:
            return
        if source not in SOURCES:
            raise UnsupportedTransferSyntax(f"{name_of(source)} cannot be decoded here")
        pieces = transcode(
            edited.read, 0, edited.length, source, target, quality=self._quality, key=key, workspace=workspace
        )
        spool(edited, pieces, workspace.folder)
        edited.transfer_syntax_uid = target
        if self._quality is not None and key is not None:
            edited.sop_instance_uid = derived.sop_instance_uid(edited.sop_instance_uid, target, self._quality, key)


def _alter(edited: Edited, alter: Alter, workspace: Workspace) -> None:
    source = edited.transfer_syntax_uid
    target = target_of(source)
    spool(
        edited,
        transcode(edited.read, 0, edited.length, source, target, workspace=workspace, alter=alter),
        workspace.folder,
    )
    edited.transfer_syntax_uid = target


def _after(first: Edited, second: Edited) -> Edited:
    """Combine `second`, which reads `first`: closes both, and lists the changes of both."""

    def close() -> None:
        second.close()
        first.close()

    return replace(second, _changes=lambda: (*first.changes, *second.changes), _close=close)


def _key(section: Changes, place: str) -> bytes:
    if section.key and section.key_file:
        raise ConfigurationError(f"{place}.key: set key or key_file, not both")
    if not section.key_file:
        return section.key.encode()
    try:
        with Path(section.key_file).open("rb") as file:
            key = file.read(4097).strip()
    except OSError as error:
        raise ConfigurationError(f"{place}.key_file: {section.key_file} cannot be read: {error.strerror}") from None
    if not 16 <= len(key) <= 4096:
        raise ConfigurationError(f"{place}.key_file: {section.key_file} holds no key of 16 to 4096 bytes")
    return key


def _check_target(section: Changes, place: str) -> None:
    target, quality = section.transfer_syntax, section.quality
    if quality is not None:
        if not 1 <= quality <= 100:
            raise ConfigurationError(f"{place}.quality: {quality} is out of range: 1 to 100")
        if target not in ENCODERS or not ENCODERS[target].method:
            raise ConfigurationError(f"{place}.quality: needs {place}.transfer_syntax with a UID of one that may lose")
    elif target and target not in TARGETS:
        raise ConfigurationError(
            f"{place}.transfer_syntax: {target!r} is not the UID of a transfer syntax that is made without loss; with "
            f"{place}.quality it may lose"
        )


def _version(section: Changes, key: bytes) -> str:
    content = msgspec.json.encode(msgspec.structs.replace(section, key="", key_file=""))
    digest = hashlib.sha256(content)
    digest.update(hmac.digest(key, b"fingerprint", "sha256") if key else b"")
    if section.deidentify is not None:
        for file in filter(None, (section.deidentify.pseudonyms, *section.deidentify.sealed_for)):
            digest.update(Path(file).read_bytes())  # checked by `build` just before
    return digest.hexdigest()[:12]
