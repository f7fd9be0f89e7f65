"""C-FIND as an SCU (PS3.4 C.4.1, K.4.1): sends an identifier, yields each match as it arrives.

Models and levels live here; the caller knows what the keys mean to a user.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from gateway.dicom.decode import decode_data_set
from gateway.dicom.encode import Attribute, DataSet, encode_data_set
from gateway.dicom.json import encode_data_set as encode_json
from gateway.dicom.levels import CODES, QUERY_RETRIEVE_LEVEL, Level
from gateway.dimse import messages, status
from gateway.dimse.status import Category
from gateway.errors import RequestFailed
from gateway.net.requestor import Requestor
from gateway.scu.node import PLAIN_SYNTAXES, Node, associate

PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
WORKLIST = "1.2.840.10008.5.1.4.31"


@dataclass(frozen=True, slots=True)
class Match:
    """One match as received."""

    data_set: bytes
    transfer_syntax_uid: str

    def attributes(self) -> DataSet:
        """The match, decoded. Raises DataSetError."""
        return decode_data_set(self.data_set, self.transfer_syntax_uid)

    def json(self) -> bytes:
        """The match as an object of the DICOM JSON Model, with values of any length inline. Raises DataSetError."""
        data = self.data_set
        return encode_json(
            lambda offset, length: data[offset : offset + length],
            0,
            len(data),
            self.transfer_syntax_uid,
            bulk_data_uri=lambda path: path,
            bulk_threshold=len(data),
        )


def identifier(level: Level | None, keys: DataSet) -> DataSet:
    """Add the Query/Retrieve Level to `keys`; None for a worklist, which has no level."""
    return {**keys, QUERY_RETRIEVE_LEVEL: Attribute("CS", [CODES[level]])} if level else dict(keys)


async def find(node: Node, wanted: DataSet, *, model: str = STUDY_ROOT) -> AsyncGenerator[Match, None]:
    """Query a node over an association of its own, like `find_on`. Close (`contextlib.aclosing`) to stop early."""
    async with (
        associate(node, [(model, PLAIN_SYNTAXES)]) as association,
        aclosing(find_on(association, wanted, model=model)) as matches,
    ):
        async for match in matches:
            yield match


async def find_on(association: Requestor, wanted: DataSet, *, model: str = STUDY_ROOT) -> AsyncGenerator[Match, None]:
    """Query over an association that has a context for `model`; yields each match as it arrives.

    Closing early sends a C-CANCEL. Raises: RequestFailed when the peer answers with a failure; AssociationLost;
    AssociationRefused for a model that the peer did not accept.
    """
    context = association.context_for(model)
    request = messages.c_find_request(association.next_message_id(), model)
    data_set = encode_data_set(wanted, context.transfer_syntax)
    timeout = association.call.response_timeout
    async with aclosing(association.requests(context, request, [data_set], timeout=timeout)) as responses:
        async for response in responses:
            if response.is_pending:
                if response.data_set is not None:
                    yield Match(response.data_set, context.transfer_syntax)
            elif status.category(response.status) is Category.FAILURE:
                raise failure(association, "C-FIND", response.status, response.error_comment)


def failure(association: Requestor, what: str, code: int, comment: str) -> RequestFailed:
    """Describe the failure that a peer answered with."""
    text = f"{association.call.called_aet} answers {what} with {status.describe(code)}"
    return RequestFailed(f"{text}: {comment}" if comment else text, code)
