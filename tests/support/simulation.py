"""An event loop whose time and whose threads are made up: what runs when is chance, and the same for the same seed.

Nobody waits: when there is nothing to do, the clock is moved to the next moment at which there is. What would go to a
thread is done on the loop, whole, one piece of work at a time, in an order that is drawn.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable
from random import Random
from typing import Any


class _Selector(selectors.SelectSelector):
    """Waits for nothing but the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everything waits, and nothing will ever happen"
        self.now += max(0.0, timeout)
        return []


class Simulation(asyncio.SelectorEventLoop):
    """For one life of a program: `live` ends with it, or when `end` is called in the middle of it."""

    def __init__(self, random: Random, now: float = 0.0) -> None:
        self._clock = _Selector()
        self._clock.now = now
        super().__init__(self._clock)
        self._clock_resolution = 1e-6
        self._random = random
        self._work: list[tuple[asyncio.Future[Any], Callable[[], Any]]] = []
        self._ended = False
        self.set_exception_handler(lambda loop, context: None)

    def time(self) -> float:
        return self._clock.now

    def run_in_executor(self, executor: object, work: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future: asyncio.Future[Any] = self.create_future()
        self._work.append((future, functools.partial(work, *arguments)))
        self.call_soon(self._do_one)
        return future

    def _do_one(self) -> None:
        future, work = self._work.pop(self._random.randrange(len(self._work)))
        try:
            result = work()
        except BaseException as error:
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(result)

    def end(self) -> None:
        """The program is gone: whatever still runs is taken away."""
        self._ended = True
        self.stop()

    def live(self, program: Any) -> bool:
        """Run a program; whether it came to its end. Raises what it raises."""
        asyncio.set_event_loop(self)
        task = self.create_task(program)
        task.add_done_callback(lambda _: self.stop())
        try:
            self.run_forever()
            done = not self._ended
            if done:
                task.result()
            return done
        finally:
            self._take_away()
            asyncio.set_event_loop(None)
            self.close()

    def _take_away(self) -> None:
        """Have every task end, so that none is found by the collector of garbage."""
        for _ in range(100):
            tasks = asyncio.all_tasks(self)
            if not tasks:
                return
            for task in tasks:
                task.cancel()
            self.call_soon(self.stop)
            self.run_forever()
        raise AssertionError(f"what does not end: {asyncio.all_tasks(self)}")
