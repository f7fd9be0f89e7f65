"""Modality Performed Procedure Step as an SCU (PS3.4 F.7): N-CREATE and N-SET."""

from __future__ import annotations

from typing import Final

from gateway.dicom.encode import DataSet, encode_data_set
from gateway.dimse import messages
from gateway.scu.node import PLAIN_SYNTAXES, Node, associate

SOP_CLASS: Final = "1.2.840.10008.3.1.2.3.3"
"""Modality Performed Procedure Step SOP Class."""


async def create_step(node: Node, uid: str, attributes: DataSet) -> tuple[int, str]:
    """Create a step under a SOP Instance UID; returns status and error comment. Raises AssociationRefused,
    AssociationLost."""
    async with associate(node, [(SOP_CLASS, PLAIN_SYNTAXES)]) as association:
        context = association.context_for(SOP_CLASS)
        command = messages.n_create_request(association.next_message_id(), SOP_CLASS, uid)
        data = encode_data_set(attributes, context.transfer_syntax)
        response = await association.request(context, command, [data], timeout=node.response_timeout)
        return response.status, response.error_comment


async def set_step(node: Node, uid: str, attributes: DataSet) -> tuple[int, str]:
    """Send N-SET of a step; returns status and error comment. Raises AssociationRefused, AssociationLost."""
    async with associate(node, [(SOP_CLASS, PLAIN_SYNTAXES)]) as association:
        context = association.context_for(SOP_CLASS)
        command = messages.n_set_request(association.next_message_id(), SOP_CLASS, uid)
        data = encode_data_set(attributes, context.transfer_syntax)
        response = await association.request(context, command, [data], timeout=node.response_timeout)
        return response.status, response.error_comment
