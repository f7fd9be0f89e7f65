"""C-ECHO as an SCU (PS3.4 Annex A)."""

from __future__ import annotations

from gateway.dicom import uids
from gateway.scu.node import PLAIN_SYNTAXES, Node, associate


async def echo(node: Node) -> int:
    """Send a C-ECHO over an association of its own; returns the status. Raises AssociationLost, AssociationRefused."""
    async with associate(node, [(uids.VERIFICATION, PLAIN_SYNTAXES)]) as association:
        return await association.echo()
