"""A compiled de-identification: the settings `[changes.NAME.deidentify]` with the key of their set."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gateway.config.deidentify import Deidentify
from gateway.dicom.path import AttributePath
from gateway.edit.deid import content, private, seal, table
from gateway.edit.deid.areas import Device, read_devices
from gateway.edit.deid.keyed import Keyed
from gateway.edit.deid.private import SafePrivate
from gateway.edit.deid.pseudonyms import Pseudonyms, read_pseudonyms
from gateway.edit.deid.table import Action
from gateway.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Profile:
    """The compiled settings, for many objects and threads."""

    options: frozenset[str]
    basic: Mapping[int, Action]
    """The Basic Profile by tag: for a text of which cleaning leaves nothing."""
    actions: Mapping[int, Action]
    items: Mapping[content.Name, Action]
    keyed: Keyed
    shift_days: int
    pseudonyms: Pseudonyms
    unlisted_by_key: bool
    safe_private: SafePrivate
    """Empty unless safe private attributes are retained."""
    devices: tuple[Device, ...]
    ignore_burned_in: bool
    ignore_recognizable: bool
    recipients: tuple[Any, ...]
    """Certificates of those who may restore the removed values."""
    keep_private: bool = False
    kept_paths: tuple[AttributePath, ...] = ()
    """Attributes that are kept, whatever becomes of the sequences around them: those inside sequences, and private ones
    that are named by their creators."""

    def adapted(
        self,
        *,
        keep: Collection[int] = (),
        remove: Collection[int] = (),
        kept_paths: Collection[AttributePath] = (),
        keep_private: bool = False,
        masked: bool = False,
    ) -> Profile:
        """A copy that keeps or removes some attributes, by tag at every place, or keeps them by their paths.

        If `masked`, it is for objects in whose pixels text has been looked after.
        """
        actions = dict(self.actions) | dict.fromkeys(keep, Action.KEEP) | dict.fromkeys(remove, Action.REMOVE)
        return replace(
            self,
            actions=actions,
            keep_private=keep_private,
            kept_paths=tuple(kept_paths),
            ignore_burned_in=self.ignore_burned_in or masked,
        )

    @classmethod
    def build(cls, section: Deidentify, key: bytes, place: str) -> Profile:
        """Compile a section. Raises ConfigurationError with the setting below `place`, and the remedy."""
        options = frozenset(section.options)
        if {"retain-full-dates", "retain-modified-dates"} <= options:
            raise ConfigurationError(f"{place}.options: retain-full-dates and retain-modified-dates exclude each other")
        if section.safe_private and "retain-safe-private" not in options:
            raise ConfigurationError(f"{place}.safe_private: needs retain-safe-private among {place}.options")
        if not 0 < section.shift_days <= 36500:
            raise ConfigurationError(f"{place}.shift_days: {section.shift_days} is out of range: 1 to 36500")
        try:
            keyed = Keyed(key)
        except ConfigurationError as error:
            raise ConfigurationError(f"{place}: {error}") from None
        actions = table.resolve(options)
        if "retain-uids" not in options:
            actions |= dict.fromkeys(table.UNLISTED_UIDS, Action.UID)
        return cls(
            options,
            table.resolve(()),
            actions,
            content.items(options),
            keyed,
            section.shift_days,
            read_pseudonyms(Path(section.pseudonyms), f"{place}.pseudonyms") if section.pseudonyms else {},
            section.unlisted == "key",
            private.with_configured(section.safe_private, f"{place}.safe_private")
            if "retain-safe-private" in options
            else {},
            read_devices(section.rectangles, f"{place}.rectangles"),
            section.burned_in == "ignore",
            section.recognizable == "ignore",
            tuple(seal.read_certificate(Path(file), f"{place}.sealed_for") for file in section.sealed_for),
        )
