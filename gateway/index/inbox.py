"""What outsiders have uploaded and what waits for a person: studies with the label INBOX, and their instances.

An instance that is added to a study which is here already waits by itself; the study, which is in use, gets no label.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from gateway.database.database import Database, Script
from gateway.index.annotations import give_label, take_label
from gateway.index.queries import inbox as queries
from gateway.index.queries.annotations import SET_METADATA
from gateway.index.queries.store import COUNT_EDIT

INBOX: Final = "inbox"
"""The label of what waits. Roles with it in `without_labels` do not see such studies."""
SENDER: Final = "InboxSender"
"""Name of the metadata of a study that says by which link it came."""


class WaitingStudy(NamedTuple):
    """A study of which instances wait."""

    public_id: str
    waiting: int
    instances: int
    """How many the study has in all."""
    received_at: float


async def waiting_studies(database: Database, limit: int) -> list[WaitingStudy]:
    """Some of the studies of which instances wait, the earliest first."""
    return [WaitingStudy(*row) for row in await database.fetch(queries.WAITING_STUDIES, INBOX, limit)]


async def waiting_instances(database: Database, study: str) -> list[str]:
    """The public ids of the waiting instances of a study."""
    return [public_id for (public_id,) in await database.fetch(queries.WAITING_INSTANCES, INBOX, study)]


def put_in_inbox(study: str, instances: Iterable[str]) -> Script[None]:
    """Let stored instances of a study wait, and the study too if all of it came so. For the transaction that stores
    them: it never fails for what they are."""
    for each in instances:
        yield from give_label("instance", each, INBOX)
    if (yield queries.STUDY_IS_NEW, (study,)):
        yield from give_label("study", study, INBOX)
    yield COUNT_EDIT, ()


def note_sender(study: str, sender: str) -> Script[None]:
    """Write down who has sent a study, if all of it came by the inbox."""
    if (yield queries.STUDY_IS_NEW, (study,)):
        yield SET_METADATA, ("study", study, SENDER, sender, 0)


def still_waits(instance: str) -> Script[bool]:
    """Whether an instance waits."""
    return bool((yield queries.STILL_WAITS, (instance, INBOX)))


def accept_instance(instance: str) -> Script[bool]:
    """Let an instance wait no more; False if it did not."""
    waits = yield from still_waits(instance)
    if waits:
        yield from take_label("instance", instance, INBOX)
        yield COUNT_EDIT, ()
    return waits


def accept_study(study: str) -> Script[None]:
    """Take the label from a study, unless more of it has come meanwhile."""
    if not (yield queries.WAITING_INSTANCES, (INBOX, study)):
        yield from take_label("study", study, INBOX)
        yield COUNT_EDIT, ()
