"""`dicom-gateway check-config`: checks a configuration, and shows the resulting settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import ConfigOption, JsonOption, complain, print_json, print_line

if TYPE_CHECKING:
    from gateway.config import Settings


def check_config(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Configuration file, by default that of --config.")
    ] = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a configuration, with the files and folders that it names, and show the resulting settings.

    The configuration is read as `serve` reads it, with the environment (`GATEWAY_DICOM__PORT=104`) over the file. Every
    problem is listed with its line; exit code 2 if there is any.
    """
    from gateway import config
    from gateway.config.toml import toml_value

    if file is not None and config_file is not None and str(config_file) != os.environ.get("GATEWAY_CONFIG"):
        raise typer.BadParameter("name one file: FILE, or --config FILE")
    file = file or config_file
    settings = show_problems(file, as_json)
    tree = config.as_builtins(settings)
    if as_json:
        print_json({"valid": True, "settings": tree})
        return
    for section, values in tree.items():
        print_line(f"[{section}]")
        for name, value in values.items():
            if value is not None:
                print_line(f"{name} = {toml_value(value)}")
        print_line()
    print_line(f"# {file or 'these defaults'}: valid")


def show_problems(file: Path | None, as_json: bool) -> Settings:
    """The settings, when all are right; otherwise print every problem and exit with code 2."""
    from gateway.examination import read, unusable_folders

    reading = read(file)
    for text in unusable_folders(reading.settings):
        reading.note(text)
    if not reading.problems:
        return reading.settings
    problems = sorted(reading.problems, key=lambda each: each.line)
    if as_json:
        listed = [{"line": each.line, "place": each.place, "where": each.where, "text": each.text} for each in problems]
        print_json({"valid": False, "mistakes": listed})
    else:
        for each in problems:
            complain(str(each))
    raise typer.Exit(2)
