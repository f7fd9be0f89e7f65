"""A set of changes by name, ready to be applied: `[changes.NAME]` of the settings."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from gateway.config.edits import Changes
from gateway.dicom.source import Read
from gateway.edit.deid.deidentify import Deidentifier, Edited
from gateway.errors import ConfigurationError

_LONGEST_KEY = 4096


class ChangeSet:
    """Shared by threads."""

    def __init__(self, name: str, version: str, deidentifier: Deidentifier) -> None:
        self.name = name
        self.version = version
        """12 hexadecimal digits of what it says, with its files: another version may make other objects."""
        self.deidentifier = deidentifier

    @classmethod
    def build(cls, name: str, section: Changes) -> ChangeSet:
        """ConfigurationError names the setting and what would be right. Reads files."""
        place = f"changes.{name}"
        if section.deidentify is None:
            raise ConfigurationError(f"{place}: changes nothing; add [{place}.deidentify]")
        if not section.key_file:
            raise ConfigurationError(f"{place}.key_file: is missing; make one with: openssl rand -hex 32 > FILE")
        key = _read(section.key_file, f"{place}.key_file")[:_LONGEST_KEY].strip()
        deidentifier = Deidentifier.build(section.deidentify, key, f"{place}.deidentify")
        said = hashlib.sha256(msgspec.json.encode(section, order="sorted"))
        said.update(hashlib.sha256(key).digest())
        for file in (section.deidentify.pseudonyms, *section.deidentify.sealed_for):
            said.update(_read(file, place) if file else b"")
        return cls(name, said.hexdigest()[:12], deidentifier)

    def apply(
        self, read: Read, start: int, end: int, transfer_syntax_uid: str, *, folder: Path | None = None
    ) -> Edited:
        """As `Deidentifier.apply`."""
        return self.deidentifier.apply(read, start, end, transfer_syntax_uid, folder=folder)


def _read(file: str, place: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{place}: {file} cannot be read: {error.strerror}") from None
