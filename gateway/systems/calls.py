"""How a request over REST calls a modality: as the directory knows it, with what the request says otherwise."""

from __future__ import annotations

import asyncio
import dataclasses

from gateway.errors import NotFound
from gateway.scu.node import Node, find_node
from gateway.systems.directory import Directory


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """How to call a modality otherwise than the directory says. Empty and 0: as the directory says."""

    local_aet: str = ""
    """What we call ourselves."""
    timeout_s: float = 0.0
    """To be accepted, and for each answer."""
    called_aet: str = ""
    host: str = ""
    port: int = 0


AS_KNOWN = CallOptions()
"""Nothing is said otherwise."""


async def node_of(directory: Directory, name: str, options: CallOptions = AS_KNOWN) -> Node:
    """The node to call. Raises NotFound, and ConfigurationError for a modality that cannot be called."""
    await directory.refresh()
    settings = directory.settings()
    if name not in settings.modalities:
        raise NotFound(f"No modality with symbolic name: {name[:80]}")
    node = await asyncio.to_thread(find_node, settings, name)
    return dataclasses.replace(
        node,
        aet=options.called_aet or node.aet,
        host=options.host or node.host,
        port=options.port or node.port,
        calling_aet=options.local_aet or node.calling_aet,
        association_timeout=options.timeout_s or node.association_timeout,
        response_timeout=options.timeout_s or node.response_timeout,
    )
