"""The end of a job that has stored all of its sources elsewhere: they are deleted, and nothing that came since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection

from gateway.admin.copies import Copies
from gateway.admin.deletion import Moment, Removal, Stay
from gateway.database.database import Database
from gateway.errors import PermanentFailure, RetainedByCommitment
from gateway.index.queries.locate import REPLACED_SINCE
from gateway.systems.job_desk import Reporter
from gateway.systems.resources import Resources


async def check_running(is_running: Callable[[], Awaitable[bool]]) -> None:
    """Raise PermanentFailure where somebody has taken the job back, which the runner notices some seconds later."""
    if not await is_running():
        raise PermanentFailure("the job was taken back before its sources were deleted")


async def is_replaced(database: Database, instance: str, since: int) -> bool:
    """Whether an instance got another file behind the change `since`."""
    return bool(await database.fetch(REPLACED_SINCE["instance"], instance, since))


async def remove_sources(
    removal: Removal,
    reporter: Reporter,
    resources: Resources,
    known: Moment,
    copies: Copies,
    stays: Collection[int] = (),
) -> None:
    """Delete instances of which copies are stored, but for the rows that stay, and for what has come or was replaced
    since they were `known`.

    Raises PermanentFailure where storage commitment retains one, one was replaced, or its copy is gone.
    """
    left: Counter[Stay] = Counter()
    try:
        for public_id, level in resources:
            left += await removal.each_as_copied(level, public_id, known, copies, stays)
    except RetainedByCommitment as error:
        raise await reporter.failed(f"everything is stored, and its source stays: {error}") from None
    if lost := left["without copy"]:
        raise await reporter.failed(
            f"the copies of {lost} instances have been deleted meanwhile; their sources stay. Submit the job again to "
            "store them again"
        )
    if left:
        raise await reporter.failed(
            f"everything is stored, but {left.total()} instances have been replaced meanwhile, and stay"
        )
