"""An instance as an outgoing file: File Meta Information and the data set, in an accepted transfer syntax."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing

from gateway.dicom import uids
from gateway.dicom.part10 import file_header
from gateway.errors import UnsupportedTransferSyntax
from gateway.imaging.transcode import forms
from gateway.remote.destination import Answer, outcome_of
from gateway.scu.transfer import Choose, Content, Instance


def choosing(transfer_syntaxes: Collection[str]) -> Choose:
    """A chooser of the stored transfer syntax or, where only some are accepted, the best that it can be transcoded
    to."""

    def choose(stored: str) -> str:
        if not transfer_syntaxes:
            return stored
        found = forms(stored, transfer_syntaxes)
        if not found:
            raise UnsupportedTransferSyntax(
                f"{uids.name_of(stored)} is none of transfer_syntaxes, nor can it be transcoded to one without loss"
            )
        return found[0]

    return choose


async def file_of(instance: Instance, content: Content) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of the file."""
    yield file_header(
        sop_class_uid=instance.sop_class_uid,
        sop_instance_uid=instance.sop_instance_uid,
        transfer_syntax_uid=content.transfer_syntax_uid,
    )
    async with aclosing(content.chunks()) as chunks:
        async for chunk in chunks:
            yield chunk


def unreadable(error: Exception, sent: int = 0) -> Answer:
    """The answer for an instance that cannot be read or prepared."""
    detail = str(error) if isinstance(error, UnsupportedTransferSyntax) else f"cannot be read: {error}"
    return Answer(outcome_of(error), None, detail, sent)
