"""A snapshot of the settings with the modalities that were added over REST: one place to look a modality up.

They win by name over those of the file. Who may call us at all is for the file to say: see `access/callers.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config.sections import Modality, Settings


class ExtendedSettings(Settings, frozen=True, kw_only=True):
    """Settings whose `modalities` hold more than the configuration names."""

    configured: dict[str, Modality]
    """The modalities of the configuration."""


def extended(settings: Settings, modalities: Mapping[str, Modality]) -> Settings:
    """The snapshot with these modalities beside its own."""
    if not modalities:
        return settings
    fields = {name: getattr(settings, name) for name in Settings.__struct_fields__}
    fields["modalities"] = {**settings.modalities, **modalities}
    return ExtendedSettings(**fields, configured=settings.modalities)


def configured_modalities(settings: Settings) -> dict[str, Modality]:
    """The modalities that the configuration names, without those that were added over REST."""
    return settings.configured if isinstance(settings, ExtendedSettings) else settings.modalities
