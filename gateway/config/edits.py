"""The structure of the settings that say what is done to instances: sets of changes, by name."""

from __future__ import annotations

from gateway.config.base import Section
from gateway.config.deidentify import Deidentify


class Changes(Section, frozen=True):
    """What is done to an instance."""

    key_file: str = ""
    """File with the secret that UIDs, pseudonyms and days are made with: 16 bytes or more, at random (`openssl rand
    -hex 32`). Who has it can tell which pseudonym is whose; without it the same can never be made again."""
    deidentify: Deidentify | None = None
    """Take away what identifies a patient."""
