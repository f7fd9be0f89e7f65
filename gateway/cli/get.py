"""`dicom-gateway get`: fetch what a DICOM node holds (C-GET, PS3.4 C.4.3), into a folder or into our own archive."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import ConfigOption, DataOption, JsonOption, Progress, load_settings, progress_bar
from gateway.cli.move import LevelOption, follow, show
from gateway.cli.nodes import (
    AetOption,
    KeysArgument,
    NodeArgument,
    TimeoutOption,
    check_level,
    node_of,
    parse_keys,
    retrieve_level,
)

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.dicom.encode import DataSet
    from gateway.scu.move import Progress as Suboperations
    from gateway.scu.node import Node


def get(
    node: NodeArgument,
    keys: KeysArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Write files into this folder.")
    ] = None,
    archive: Annotated[bool, typer.Option("--archive", help="Take them into the archive in the data folder.")] = False,
    data: DataOption = None,
    config_file: ConfigOption = None,
    level: LevelOption = None,
    aet: AetOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch a study, say: `get ARCHIVE StudyInstanceUID=1.2.3 --out study`, or `--archive` to keep it in the gateway.

    Exit code 1 unless every instance arrived.
    """
    if (out is None) == (not archive):
        raise typer.BadParameter("say where it goes: --out DIR, or --archive")
    check_level(level)
    wanted = parse_keys(keys or [])
    at = retrieve_level(wanted, level)
    _, called = node_of(node, config_file, aet, timeout)
    settings = load_settings(config_file, data)

    import uvloop

    with progress_bar("fetching", quiet=as_json) as progress:
        if out is not None:
            final = uvloop.run(_into_folder(called, at, wanted, out, progress))
        else:
            final = uvloop.run(_into_archive(called, at, wanted, settings, progress))
    show(str(called), final, as_json, f" in {out or settings.storage.path}")
    if final is None or not final.is_success:
        raise typer.Exit(1)


async def _into_folder(node: Node, level: str, wanted: DataSet, out: Path, progress: Progress) -> Suboperations | None:
    from gateway.scu.folder import FolderSink
    from gateway.scu.get import fetch

    sink = FolderSink(out, node.aet)
    try:
        return await follow(fetch(node, level, wanted, sink), progress)
    finally:
        await asyncio.to_thread(sink.close)


async def _into_archive(
    node: Node, level: str, wanted: DataSet, settings: Settings, progress: Progress
) -> Suboperations | None:
    from gateway.archive.fetching import ArchiveSink
    from gateway.archive.folder import open_folder, open_ingest
    from gateway.scu.get import fetch

    async with open_folder(settings.storage) as folder, open_ingest(folder) as ingest:
        sink = ArchiveSink(ingest, aet=node.aet, host=node.host, our_aet=node.calling_aet)
        return await follow(fetch(node, level, wanted, sink), progress)
