"""`dicom-gateway get`: fetches from a DICOM node (C-GET, PS3.4 C.4.3), into a folder or into the archive."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import (
    CreateOption,
    DataOption,
    JsonOption,
    Progress,
    load_settings,
    need_archive,
    progress_bar,
)
from gateway.cli.move import LevelOption, follow, show
from gateway.cli.nodes import (
    Calling,
    KeysArgument,
    NodeArgument,
    calls_a_node,
    node_of,
    parse_keys,
    retrieve_level,
)
from gateway.dicom.levels import Level

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.dicom.encode import DataSet
    from gateway.scu.move import Progress as Suboperations
    from gateway.scu.node import Node


@calls_a_node()
def get(
    node: NodeArgument,
    calling: Calling,
    keys: KeysArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Write files into this folder.")
    ] = None,
    archive: Annotated[bool, typer.Option("--archive", help="Store them in the archive of the data folder.")] = False,
    data: DataOption = None,
    create: CreateOption = False,
    level: LevelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch for example a study: `get ARCHIVE StudyInstanceUID=1.2.3 --out study`, or `--archive` to store it here.

    Exit code 1 unless every instance arrived, and if nothing matches.
    """
    if (out is None) == (not archive):
        raise typer.BadParameter("give --out DIR, or --archive")
    wanted = parse_keys(keys or [])
    at = retrieve_level(wanted, level)
    _, called = node_of(node, calling)
    settings = load_settings(calling.config_file, data)
    if archive:
        need_archive(settings.storage, create)

    import uvloop

    with progress_bar("fetching", quiet=as_json) as progress:
        if out is not None:
            final = uvloop.run(_into_folder(called, at, wanted, out, progress))
        else:
            final = uvloop.run(_into_archive(called, at, wanted, settings, progress))
    if not show(str(called), final, as_json, f" in {out or settings.storage.path}"):
        raise typer.Exit(1)


async def _into_folder(
    node: Node, level: Level, wanted: DataSet, out: Path, progress: Progress
) -> Suboperations | None:
    from gateway.scu.folder import FolderSink
    from gateway.scu.get import fetch

    sink = FolderSink(out, node.aet)
    try:
        return await follow(fetch(node, level, wanted, sink), progress)
    finally:
        await asyncio.to_thread(sink.close)


async def _into_archive(
    node: Node, level: Level, wanted: DataSet, settings: Settings, progress: Progress
) -> Suboperations | None:
    from gateway.ingest.data_folder import open_folder, open_ingest
    from gateway.ingest.sink import IngestSink
    from gateway.scu.get import fetch

    async with open_folder(settings.storage, settings.database.url) as folder, open_ingest(folder) as ingest:
        sink = IngestSink(ingest, aet=node.aet, host=node.host, our_aet=node.calling_aet)
        return await follow(fetch(node, level, wanted, sink), progress)
