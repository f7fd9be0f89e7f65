"""gateway/systems/alarms.py: the alarm about emergency access is raised until somebody has heard it."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from gateway.access.emergencies import Emergencies
from gateway.access.principals import Principal
from gateway.config import BreakGlass, Settings
from gateway.database.sqlite import SQLite
from gateway.jobs.runner import Retry, Runner
from gateway.jobs.table import ended_job, list_jobs
from gateway.systems import alarms
from gateway.systems.alarms import EmergencyAlarms, _posted

DOCTOR = Principal("doc", ())
SETTINGS = Settings(break_glass=BreakGlass(webhook="https://alarm.example"))


async def test_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarms, "_RETRY", Retry(attempts=5, first=0.001))
    heard: list[tuple[str, bytes]] = []

    async def post(url: str, body: bytes) -> None:
        heard.append((url, body))
        if len(heard) < 3:
            raise OSError("down")

    database = await SQLite.open(tmp_path / "index.db")
    ours = EmergencyAlarms(lambda: SETTINGS, post=post)
    emergencies = Emergencies(database, alarm=ours.follow)
    runner = Runner(database, {alarms.KIND: ours.kind(emergencies)}, poll=0.01)
    try:
        await emergencies.begin(DOCTOR, "unconscious", SETTINGS)
        (job,) = await list_jobs(database)
        assert (job.payload, job.requester) == ({"emergency": 1}, "")
        runner.start()
        ended = await ended_job(database, job.id)
        assert ended is not None
        assert ended.state == "done"
        assert {url for url, _body in heard} == {"https://alarm.example"}
        said = [msgspec.json.decode(body) for _url, body in heard]
        assert said[0] == said[2] != []
        assert (said[2]["Event"], said[2]["User"], said[2]["Reason"]) == ("break-glass", "doc", "unconscious")
    finally:
        await runner.close()
        await database.close()


async def test_without_a_webhook(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    database = await SQLite.open(tmp_path / "index.db")
    try:
        emergencies = Emergencies(database, alarm=EmergencyAlarms(Settings).follow)
        await emergencies.begin(DOCTOR, "why", Settings())
        assert await list_jobs(database) == []
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
    finally:
        await database.close()


@pytest.mark.parametrize(("status", "taken"), [(204, True), (302, False), (404, False), (500, False)])
async def test_what_counts_as_heard(status: int, taken: bool) -> None:
    bodies: list[bytes] = []

    async def answer(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        return web.Response(status=status, headers={"Location": "/"} if status == 302 else {})

    app = web.Application()
    app.router.add_post("/alarm", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/alarm"
    try:
        if taken:
            await _posted(url, b"{}")
        else:
            with pytest.raises(OSError, match=f"answers {status}"):
                await _posted(url, b"{}")
        assert bodies == [b"{}"]
    finally:
        await runner.cleanup()
    with pytest.raises(OSError, match=r"break_glass\.webhook"):
        await _posted(url, b"{}")
