"""C-ECHO as a client (PS3.4 Annex A)."""

from __future__ import annotations

from gateway.dicom import uids
from gateway.scu.node import PLAIN_SYNTAXES, Node, associate


async def echo(node: Node) -> int:
    """Open an association, ask, release it. The status of the answer; AssociationLost, AssociationRefused."""
    async with associate(node, [(uids.VERIFICATION, PLAIN_SYNTAXES)]) as association:
        return await association.echo()
