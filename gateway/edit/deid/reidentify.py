"""Restoration of an object from its sealed attributes (PS3.15 E.1.2).

Areas cleared from the pixels are not among them.
"""

from __future__ import annotations

import tempfile
from typing import IO, Any, Final

from gateway.dicom import recode
from gateway.dicom.source import Read
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from gateway.dicom.walk import UNDEFINED
from gateway.edit.deid import seal
from gateway.edit.deid.deidentify import (
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
)
from gateway.edit.edited import Edited
from gateway.edit.tree import Node, Tree, find, put
from gateway.errors import DataSetError

_LITTLE: Final = EXPLICIT_VR_LITTLE_ENDIAN
_MARKS: Final = frozenset((0x00120062, 0x00120063, 0x00120064, 0x00280303, seal.ENCRYPTED_ATTRIBUTES))
_IN_MEMORY: Final = 16 << 20
_DELIMITER: Final = 8


def restored(read: Read, start: int, end: int, transfer_syntax_uid: str, certificate: Any, key: Any) -> Edited:
    """Restore the attributes sealed for a certificate; an uncompressed data set is then in Explicit VR Little Endian.

    Raises: DataSetError when the object has no sealed attributes, or none for this key.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    spool = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed with what it holds
    try:
        if not syntax.encapsulated and syntax is not _LITTLE:
            for piece in recode.recode(read, start, end, syntax.uid, _LITTLE.uid):
                spool.write(piece)
            read, start, end, syntax = _reader(spool), 0, spool.tell(), _LITTLE
        tree = Tree(read, start, end, syntax)
        originals = _opened(tree, certificate, key)
    except BaseException:
        spool.close()
        raise
    tree.nodes[:] = [node for node in tree.nodes if node.tag not in _MARKS]
    for node in originals:
        put(tree.nodes, node)

    def text(tag: int) -> str:
        node = find(tree.nodes, tag)
        return tree.value(node).decode("latin-1").strip(" \0") if node is not None else ""

    segments = tree.segments()
    return Edited(
        *(syntax.uid, text(SOP_CLASS_UID), text(SOP_INSTANCE_UID), text(STUDY_INSTANCE_UID), text(SERIES_INSTANCE_UID)),
        *(segments.length, segments.read, lambda: (), spool.close),
    )


def _reader(file: IO[bytes]) -> Read:
    def read(offset: int, length: int) -> bytes:
        file.seek(offset)
        return file.read(length)

    return read


def _opened(tree: Tree, certificate: Any, key: Any) -> list[Node]:
    """The elements of the first item that this key opens, with their values."""
    sealed = find(tree.nodes, seal.ENCRYPTED_ATTRIBUTES)
    if sealed is None or not sealed.items:
        raise DataSetError("nothing is sealed in the object: it has no Encrypted Attributes Sequence (0400,0500)")
    reason = DataSetError("the Encrypted Attributes Sequence (0400,0500) has no Encrypted Content")
    for item in sealed.items:
        content = find(item, seal.CONTENT)
        if content is None:
            continue
        try:
            return _elements(seal.unseal(tree.value(content), certificate, key))
        except DataSetError as error:
            reason = error
    raise reason


def _elements(data: bytes) -> list[Node]:
    tree = Tree(lambda offset, length: data[offset : offset + length], 0, len(data), _LITTLE)
    modified = find(tree.nodes, seal.MODIFIED_ATTRIBUTES)
    if modified is None or not modified.items:
        raise DataSetError("what was sealed has no Modified Attributes Sequence (0400,0550)")
    found = []
    for node in modified.items[0]:
        # A sequence is copied as stored, except its delimiter: it gets a defined length.
        stop = node.end - _DELIMITER if node.length == UNDEFINED else node.end
        new = Node(node.tag, node.vr, -1, -1, stop - node.value_start, _LITTLE)
        new.fresh = data[node.value_start : stop]
        found.append(new)
    return found
