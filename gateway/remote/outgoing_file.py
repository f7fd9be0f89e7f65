"""An instance on its way as a file: File Meta Information and the data set, in a form that is taken there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing

from gateway.dicom import uids
from gateway.dicom.part10 import file_header
from gateway.errors import UnsupportedTransferSyntax
from gateway.imaging.transcode import forms
from gateway.remote.destination import Answer, is_for_ever
from gateway.scu.sending import Choose, Content, Instance


def choosing(transfer_syntaxes: Collection[str]) -> Choose:
    """As it lies there, or where only some are taken the best of those that it can be made into."""

    def choose(stored: str) -> str:
        if not transfer_syntaxes:
            return stored
        found = forms(stored, transfer_syntaxes)
        if not found:
            raise UnsupportedTransferSyntax(
                f"{uids.name_of(stored)} is none of transfer_syntaxes, nor can it be made into one without loss"
            )
        return found[0]

    return choose


async def file_of(instance: Instance, content: Content) -> AsyncGenerator[bytes, None]:
    """The bytes of the file."""
    yield file_header(
        sop_class_uid=instance.sop_class_uid,
        sop_instance_uid=instance.sop_instance_uid,
        transfer_syntax_uid=content.transfer_syntax_uid,
    )
    async with aclosing(content.chunks()) as chunks:
        async for chunk in chunks:
            yield chunk


def unreadable(error: Exception, sent: int = 0) -> Answer:
    """The answer where an instance cannot be given to anybody, now or ever."""
    detail = str(error) if isinstance(error, UnsupportedTransferSyntax) else f"cannot be read: {error}"
    return Answer("refused" if is_for_ever(error) else "again", None, detail, sent)
