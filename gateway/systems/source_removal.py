"""The end of a job that has stored all of its sources elsewhere: they are deleted, and nothing that came since."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from gateway.admin.deletion import Moment, Removal
from gateway.errors import PermanentFailure, RetainedByCommitment
from gateway.systems.job_desk import Reporter
from gateway.systems.resources import Resources


async def check_running(is_running: Callable[[], Awaitable[bool]]) -> None:
    """Raise PermanentFailure where somebody has taken the job back, which the runner notices some seconds later."""
    if not await is_running():
        raise PermanentFailure("the job was taken back before its sources were deleted")


async def remove_sources(
    removal: Removal, reporter: Reporter, resources: Resources, known: Moment, stays: Collection[int] = ()
) -> None:
    """Delete instances but for the rows that stay, and for what has come or was replaced since they were `known`.

    Raises PermanentFailure where storage commitment retains one, or one was replaced.
    """
    try:
        replaced = sum([await removal.each_as_known(level, each, known, stays) for each, level in resources])
    except RetainedByCommitment as error:
        raise await reporter.failed(f"everything is stored, and its source stays: {error}") from None
    if replaced:
        raise await reporter.failed(
            f"everything is stored, but {replaced} instances have been replaced meanwhile, and stay"
        )
