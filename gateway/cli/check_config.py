"""`dicom-gateway check-config`: is this configuration right, and what does it come to?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import JsonOption, print_json, print_line


def check_config(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", envvar="GATEWAY_CONFIG", help="Configuration file; none: environment only."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a configuration, with the files that it names, and show the settings that come out.

    It is read as `serve` reads it, with the environment (`GATEWAY_DICOM__PORT=104`) over the file.
    """
    from gateway import config
    from gateway.errors import ConfigurationError
    from gateway.server import examine

    try:
        settings = config.load(file)
        examine(settings)
    except ConfigurationError as error:
        if as_json:
            print_json({"valid": False, "error": str(error)})
        else:
            sys.stderr.write(f"dicom-gateway: {error}\n")
        raise typer.Exit(1) from None
    tree = config.as_builtins(settings)
    if as_json:
        print_json({"valid": True, "settings": tree})
        return
    for section, values in tree.items():
        print_line(f"[{section}]")
        for name, value in values.items():
            if value is not None:
                print_line(f"{name} = {_toml(value)}")
        print_line()
    print_line(f"# {file or 'these defaults'}: valid")


def _toml(value: object) -> str:
    import json

    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(item)}" for name, item in value.items() if item is not None) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
