"""Writing the audit log: at once, with what a request changes; or counted, for what happens many times a second.

What is counted is in the log within a second when it happens for the first time, by whom, from where and with which
study. What is the same in the half minute after that becomes one further entry with a number. A process that is killed
loses what happened first in its last second, and such numbers; never an entry of a change.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from gateway.audit.entry import NO_SUBJECT, AuditEntry, AuditOutcome, AuditSubject, entry
from gateway.audit.table import append, forget, identified
from gateway.config import Settings
from gateway.database.actor import Actor
from gateway.database.database import Database
from gateway.database.view import seeing
from gateway.dicom.levels import LEVELS
from gateway.errors import DatabaseError, Overloaded

log = logging.getLogger(__name__)

FLUSH_S: Final = 1.0
"""Seconds until what was counted is written."""
WINDOW_S: Final = 30.0
"""Seconds for which the same is counted together after it was written first."""
MAX_COUNTED: Final = 10_000
"""Different things that are counted and not written yet; with more, requests wait."""
MAX_WINDOWS: Final = 50_000
"""Different things that are waited for further ones of; with more, none is."""
_MAX_WAIT_S: Final = 10.0
"""Seconds for which a request waits while the log cannot be written; then it is answered that it may try again."""
_FORGET_EVERY_S: Final = 3600.0


class _Counted(NamedTuple):
    action: str
    outcome: AuditOutcome
    actor: Actor
    subject: AuditSubject
    detail: str


class _Number:
    """How often, since when; the detail of the first; and the time until which the same is added to it."""

    __slots__ = ("at", "first", "number", "until")

    def __init__(self, at: float, number: int = 0, until: float = 0.0, first: str = "") -> None:
        self.at = at
        self.first = first
        self.number = number
        self.until = until


class AuditLog:
    """The audit log of one process. Belongs to one event loop; `close` writes what is left."""

    def __init__(
        self, database: Database, settings: Callable[[], Settings], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._counted: dict[_Counted, _Number] = {}
        self._windows: dict[_Counted, _Number] = {}
        self._entries: list[AuditEntry] = []
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def is_on(self) -> bool:
        """Whether anything is written: by the current settings."""
        return self._settings().is_audited

    def entry(
        self,
        action: str,
        actor: Actor,
        subject: AuditSubject = NO_SUBJECT,
        *,
        outcome: AuditOutcome = "success",
        detail: Mapping[str, Any] | None = None,
    ) -> AuditEntry:
        """An entry of now."""
        return entry(action, actor, subject, at=self._clock(), outcome=outcome, detail=detail)

    def count(
        self,
        action: str,
        actor: Actor,
        subject: AuditSubject = NO_SUBJECT,
        outcome: AuditOutcome = "success",
        detail: str = "",
        first: str = "",
    ) -> None:
        """Count something that happens often. Nothing while the log is off.

        `detail` is a JSON object, or empty; so is `first`, which stands in its place and may differ in what is counted
        together: an entry has that of the first.
        """
        key = _Counted(action, outcome, actor, subject, detail)
        if (number := self._counted.get(key)) is not None:
            number.number += 1
        elif self.is_on:
            self._counted[key] = _Number(self._clock(), 1, first=first)
            self._flush_in(FLUSH_S)

    def add(self, new: AuditEntry) -> None:
        """Have an entry written within a second. Nothing while the log is off."""
        if self.is_on:
            self._entries.append(new)
            self._flush_in(FLUSH_S)

    async def write(self, *entries: AuditEntry) -> None:
        """Write entries; they are durable when this returns. Nothing while the log is off. Raises: DatabaseError."""
        if entries and self.is_on:
            await self._database.write(lambda: append(entries))

    async def room(self) -> None:
        """Wait until something can be counted. Raises: Overloaded if the log cannot be written."""
        if len(self._counted) + len(self._entries) < MAX_COUNTED:
            return
        try:
            async with asyncio.timeout(_MAX_WAIT_S):
                while len(self._counted) + len(self._entries) >= MAX_COUNTED:
                    await self.flush()
        except (TimeoutError, DatabaseError):
            raise Overloaded("the audit log cannot be written now") from None

    async def identify(self, subjects: Iterable[AuditSubject]) -> list[AuditSubject]:
        """The subjects with what they do not say of their studies, and with their levels. Raises: DatabaseError."""
        wanted = list(subjects)
        with seeing(None):
            for level in LEVELS if any(each.public_id and not each.level for each in wanted) else ():
                unknown = [each._replace(level=level) for each in wanted if each.public_id and not each.level]
                known = {each.public_id for each in await identified(self._database, unknown)}
                wanted = [
                    each._replace(level=level) if not each.level and each.public_id in known else each
                    for each in wanted
                ]
            found = await identified(self._database, wanted)
        return [
            AuditSubject(each.level, each.public_id or study.public_id, study.study_uid, study.patient_id)
            if (study := found.get(each)) is not None
            else each
            for each in wanted
        ]

    async def flush(self) -> None:
        """Write what was counted and added. Raises: DatabaseError; all of it is then tried again later."""
        while self._flushing is not None:
            await asyncio.wait([self._flushing])
        self._flushing = asyncio.current_task()
        try:
            with seeing(None):
                await self._write_all()
        finally:
            self._flushing = None

    async def close(self) -> None:
        """Write everything that is left, windows too."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._flushing is not None:
            await asyncio.wait([self._flushing])
        for window in self._windows.values():
            window.until = 0.0
        try:
            await self.flush()
        except DatabaseError as error:
            log.error("the last entries of the audit log are not written: %s", error)

    async def forget_forever(self) -> None:
        """Remove entries older than `audit.keep_days`, every hour."""
        while True:
            audit = self._settings().audit
            script = functools.partial(forget, self._clock() - audit.keep_days * 86400, unsent=not audit.syslog)
            try:
                while audit.keep_days and await self._database.write(script):
                    pass
            except DatabaseError as error:
                log.warning("old entries of the audit log are not removed: %s", error)
            await asyncio.sleep(_FORGET_EVERY_S)

    async def _write_all(self) -> None:
        counted, self._counted = self._counted, {}
        new, self._entries = self._entries, []
        try:
            studies = await identified(self._database, {each.subject for each in counted})
            by_study: dict[_Counted, _Number] = {}
            for key, number in counted.items():
                of_study = key._replace(subject=studies.get(key.subject, key.subject))
                by_study.setdefault(of_study, _Number(number.at, first=number.first)).number += number.number
            counted = {}
            for key, number in by_study.items():
                self._add_to_window(key, number, new)
            self._end_windows(new)
            if new:
                await self._database.write(lambda: append(new))
        except BaseException:
            self._entries = [*new, *self._entries]
            for key, number in counted.items():
                self._counted.setdefault(key, _Number(number.at, first=number.first)).number += number.number
            raise

    def _add_to_window(self, key: _Counted, number: _Number, new: list[AuditEntry]) -> None:
        window = self._windows.get(key)
        if window is None:
            new.append(_entry_of(key, number))
            self._windows[key] = _Number(0.0, 0, self._clock() + WINDOW_S)
        else:
            if not window.number:
                window.at, window.first = number.at, number.first
            window.number += number.number

    def _end_windows(self, new: list[AuditEntry]) -> None:
        now = self._clock()
        # A clock that was set back must not keep a window open for longer.
        full = len(self._windows) > MAX_WINDOWS
        over = [key for key, window in self._windows.items() if full or not now < window.until <= now + WINDOW_S]
        for key in over:
            window = self._windows.pop(key)
            if window.number:
                new.append(_entry_of(key, window))

    def _flush_in(self, seconds: float) -> None:
        if self._timer is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._begin_flush)

    def _begin_flush(self) -> None:
        self._timer = None
        task = asyncio.get_running_loop().create_task(self._flush_soon())
        _TASKS.add(task)
        task.add_done_callback(_TASKS.discard)

    async def _flush_soon(self) -> None:
        try:
            await self.flush()
        except DatabaseError as error:
            log.error("the audit log cannot be written, and is tried again: %s", error)
        if self._windows or self._counted or self._entries:
            self._flush_in(FLUSH_S)


_TASKS: Final[set[asyncio.Task[None]]] = set()
"""Flushes under way, which the loop alone would not keep alive."""


def _entry_of(key: _Counted, number: _Number) -> AuditEntry:
    text = key.detail or number.first
    detail = msgspec.json.decode(text) if text else None
    return entry(
        key.action, key.actor, key.subject, at=number.at, outcome=key.outcome, number=number.number, detail=detail
    )
