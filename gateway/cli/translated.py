"""Parts of `dicom-gateway migrate orthanc`: an Orthanc's settings translated, shown and written. No command is here."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.cli.common import complain, print_line
from gateway.errors import ConfigurationError

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.migration.translation import Translation

_HOSTS: Final = '# hosts = []  # What people type for this machine, as "pacs.example.org"; other names get 421.'


def show_fates(translation: Translation, *, whole: bool, quiet: bool) -> list[dict[str, Any]]:
    """Print what became of each of Orthanc's settings, `whole` or as far as somebody has decided them; all as JSON."""
    ordinary = 0 if whole else sum(each.is_default for each in translation.fates)
    for each in () if quiet else translation.fates:
        if whole or not each.is_default:
            value = f" = {each.value}" if each.value else ""
            print_line(f"{each.setting}{value}: {'' if each.taken else 'not taken: '}{each.text}")
    if ordinary and not quiet:
        print_line(
            f"{ordinary:,} more {'is' if ordinary == 1 else 'are'} at Orthanc's defaults; --settings-only lists all"
        )
    return [
        {
            "setting": each.setting,
            "taken": each.taken,
            "text": each.text,
            "value": each.value,
            "default": each.is_default,
        }
        for each in translation.fates
    ]


def with_main_tags(settings: Settings, translation: Translation) -> Settings:
    """Settings with the further attributes of the translated ones: what is brought has them in the index at once."""
    import msgspec

    from gateway.config.sections import MainTags

    if settings.storage.main_tags != MainTags():
        return settings
    tags = msgspec.convert(translation.tree.get("storage", {}).get("main_tags", {}), MainTags)
    return msgspec.structs.replace(settings, storage=msgspec.structs.replace(settings.storage, main_tags=tags))


def write_translation(translation: Translation, file: Path) -> bool:
    """Whether a new file was made of the translated settings; one that exists stays.

    Raises: ConfigurationError for a file that cannot be written.
    """
    from gateway.config.toml import toml_lines

    lines = ["# Translated from an Orthanc's settings.", *toml_lines(translation.tree)]
    if translation.tree["http"]["host"] != "127.0.0.1":
        lines.insert(lines.index("[http]") + 1, _HOSTS)
    text = "\n".join(lines) + "\n"
    try:
        if file.is_dir():
            raise ConfigurationError(f"--toml {file}: it is a folder; name a new file")
        if file.exists():  # A migration that goes on is the same command again.
            complain(f"{file}: it exists, and is left as it is")
            return False
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise ConfigurationError(
            f"--toml {file}: it cannot be written: {error.strerror}; name a file in a folder that may be written"
        ) from None
    return True


def show_start(file: Path, moved: Settings | None, *, written: bool, dry_run: bool, quiet: bool) -> None:
    """Print how to start a gateway with the settings in a file over the data that were `moved`, or what is wrong.

    After a dry run there is nothing yet over which one should start.
    """
    from gateway import config

    reading = config.read(file, {})
    for problem in reading.problems:
        complain(str(problem))
    words = [f"{file} written"] if written else []
    if not reading.problems and not dry_run:
        command = f"dicom-gateway serve -c {shlex.quote(str(file))}"
        if moved is not None and Path(moved.storage.path).absolute() != Path(reading.settings.storage.path).absolute():
            command += f" --data {shlex.quote(moved.storage.path)}"
        words.append(f"start: {command}")
    if words and not quiet:
        print_line("; ".join(words))
