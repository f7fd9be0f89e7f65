"""gateway/current_settings.py: when a changed file is read again, and what is said of what changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway import config, current_settings
from gateway.config import Settings
from gateway.current_settings import AT_START, Current, announce, keep_current
from gateway.errors import ConfigurationError
from gateway.examination import Examined
from gateway.net.tls import Stamp
from tests.support.waiting import until


class Gateway:
    """Takes new settings, or refuses them with these texts."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.refusal: list[str] = []

    async def use(self, settings: Settings) -> None:
        if self.refusal:
            raise ConfigurationError(*self.refusal)
        self.titles.append(settings.dicom.aet)


class Looks:
    """The stamps that looks at the file find, one after the other; the last for ever."""

    def __init__(self, *stamps: Stamp) -> None:
        self.left = list(stamps)
        self.count = 0

    async def __call__(self, file: Path | None) -> Stamp:
        self.count += 1
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]

    async def over(self) -> None:
        """Until what the last stamp brings about has been done: two looks later."""
        await until(lambda: len(self.left) == 1)
        seen = self.count
        await until(lambda: self.count >= seen + 3)


A, B, C = ((number, number, number) for number in (1, 2, 3))


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text('dicom.aet = "NEW"\n')
    return path


@asynccontextmanager
async def watching(
    monkeypatch: pytest.MonkeyPatch, gateway: Gateway, file: Path, looks: Any, asked: asyncio.Event | None = None
) -> AsyncIterator[None]:
    monkeypatch.setattr(current_settings, "_LOOK", 0.001)
    monkeypatch.setattr(current_settings, "stamp_of", looks)
    task = asyncio.ensure_future(keep_current(gateway, file, None, asked or asyncio.Event(), A))  # type: ignore[arg-type]
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class TestAChangedFile:
    async def test_is_read_once_when_it_has_been_left_alone(
        self, gateway: Gateway, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        looks = Looks(A, A, B, B)
        async with watching(monkeypatch, gateway, file, looks):
            await looks.over()
        assert gateway.titles == ["NEW"]
        assert "the configuration has been read again" in caplog.text

    async def test_is_not_read_while_it_is_being_written(
        self, gateway: Gateway, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nor where it has come back to what is in use."""
        looks = Looks(A, B, C, A)
        async with watching(monkeypatch, gateway, file, looks):
            await looks.over()
        assert gateway.titles == []

    async def test_is_not_read_while_it_is_gone(
        self, gateway: Gateway, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looks = Looks(A, None, None, None)
        async with watching(monkeypatch, gateway, file, looks):
            await looks.over()
        assert gateway.titles == []

    async def test_that_is_wrong_is_said_and_not_read_again_until_it_changes(
        self, gateway: Gateway, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        gateway.refusal = ["one thing", "another"]
        looks = Looks(A, B, B)
        async with watching(monkeypatch, gateway, file, looks):
            await looks.over()
            said = [record.getMessage() for record in caplog.records]
            assert said == [f"the new configuration is not used: {text}" for text in gateway.refusal]
            gateway.refusal = []
            looks.left = [C]
            await until(lambda: gateway.titles)
        assert gateway.titles == ["NEW"]


async def test_one_that_is_asked_for_is_read_though_nothing_has_changed(
    gateway: Gateway, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that it names may have: SIGHUP is how that is said."""
    looks, asked = Looks(A), asyncio.Event()
    async with watching(monkeypatch, gateway, file, looks, asked):
        asked.set()
        await until(lambda: gateway.titles)
        await looks.over()
        assert not asked.is_set()
    assert gateway.titles == ["NEW"]


async def test_what_was_asked_for_is_not_read_again_for_its_stamp(
    gateway: Gateway, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, asked = Looks(B), asyncio.Event()
    asked.set()
    async with watching(monkeypatch, gateway, file, looks, asked):
        await until(lambda: gateway.titles)
        await looks.over()
    assert gateway.titles == ["NEW"]


class TestWhatIsSaid:
    BEFORE = config.load(environment={}, overrides=None)

    def said(
        self, caplog: pytest.LogCaptureFixture, after: Settings, before: Settings = BEFORE, shown: object = None
    ) -> dict[str, int]:
        """Each line with its level; `shown` is the certificate that is ready for the web."""
        caplog.set_level(logging.INFO)
        announce(before, after, Examined(None, shown, None))  # type: ignore[arg-type]
        return {record.getMessage(): record.levelno for record in caplog.records}

    def test_what_takes_effect_at_once(self, caplog: pytest.LogCaptureFixture) -> None:
        dicom = msgspec.structs.replace(self.BEFORE.dicom, aet="OTHER")
        assert self.said(caplog, msgspec.structs.replace(self.BEFORE, dicom=dicom)) == {
            "dicom.aet has changed": logging.INFO
        }

    @pytest.mark.parametrize(("name", "value"), [("dicom.port", 1104), ("http.host", "0.0.0.0"), ("server.workers", 7)])
    def test_what_waits_for_the_next_start(self, caplog: pytest.LogCaptureFixture, name: str, value: object) -> None:
        section, _, option = name.partition(".")
        assert name in AT_START
        changed = msgspec.structs.replace(getattr(self.BEFORE, section), **{option: value})
        assert self.said(caplog, msgspec.structs.replace(self.BEFORE, **{section: changed})) == {
            f"{name} has changed, which takes effect at the next start": logging.WARNING
        }

    @pytest.mark.parametrize(("key", "shown", "late"), [(True, True, False), (False, True, True), (True, False, True)])
    def test_a_certificate_is_replaced_at_once_where_one_is_shown_already(
        self, caplog: pytest.LogCaptureFixture, key: bool, shown: bool, late: bool
    ) -> None:
        """A listener becomes one of TLS, or no such one any more, with the next start alone."""
        http = msgspec.structs.replace(self.BEFORE.http, key="key.pem" if key else "", certificate="old.pem")
        before = msgspec.structs.replace(self.BEFORE, http=http)
        after = msgspec.structs.replace(before, http=msgspec.structs.replace(http, certificate="new.pem"))
        (line,) = self.said(caplog, after, before, object() if shown else None)
        assert ("at the next start" in line) is late

    def test_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        assert self.said(caplog, self.BEFORE) == {}

    def test_each_name_is_an_option(self) -> None:
        for name in AT_START:
            section, _, option = name.partition(".")
            assert hasattr(getattr(self.BEFORE, section), option), name


def test_what_was_built_before_sees_what_is_current() -> None:
    current = Current(TestWhatIsSaid.BEFORE)
    assert current() is TestWhatIsSaid.BEFORE
    current.settings = after = msgspec.structs.replace(TestWhatIsSaid.BEFORE)
    assert current() is after
