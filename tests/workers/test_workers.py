"""Several workers as one gateway: what one takes in all have, what holds for one holds for all, and one may die."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from gateway.access.passwords import hash_password
from gateway.dicom.part10 import file_header
from gateway.errors import AssociationRefused
from gateway.index.identity import public_id
from gateway.net.buffers import BlockPool
from gateway.net.requestor import Call, Requestor, associate
from tests.support.certificates import Authority, needs_openssl
from tests.support.datasets import encode, instance
from tests.support.processes import Gateway, NotStarted
from tests.support.traffic import Traffic, faults_found
from tests.support.waiting import paced, until, wait_until

HASH = hash_password("geheim")
VERIFICATION, EXPLICIT = "1.2.840.10008.1.1", "1.2.840.10008.1.2.1"


def gateway(path: Path, *arguments: str, **environment: str) -> Gateway:
    return Gateway(
        path / "data", "--workers", "2", *arguments, environment={"GATEWAY_SERVER__WORKERS": "2", **environment}
    )


def call(of: Gateway, calling: str = "TEST") -> Call:
    return Call(of.host, of.port, of.aet, calling, [(VERIFICATION, [EXPLICIT])])


def workers(of: Gateway) -> list[int]:
    children = Path(f"/proc/{of.pid}/task/{of.pid}/children").read_text().split()
    return [int(child) for child in children]


async def everywhere(url: str, path: str, times: int = 6) -> list[bytes]:
    """The answers over connections of their own, held open together, so that every worker has some."""
    async with AsyncExitStack() as stack:
        answers = []
        for _ in range(times):
            session = await stack.enter_async_context(aiohttp.ClientSession())
            answer = await stack.enter_async_context(session.get(url + path))
            answers.append(await answer.read())
        return answers


async def test_all_have_what_one_takes_in(tmp_path: Path) -> None:
    async with asyncio.timeout(40):
        with gateway(tmp_path) as running:
            traffic = Traffic(random.Random(7))
            await asyncio.gather(*(traffic.send(running.host, running.port, 5) for _ in range(8)))
            assert len(traffic.acknowledged) == 40
            for body in await everywhere(running.url, "/statistics"):
                assert json.loads(body)["CountInstances"] == 40
            for body in await everywhere(running.url, "/metrics"):
                found = re.search(rb'gateway_intake_instances_total\{outcome="stored"\} (\S+)', body)
                assert found is not None
                assert float(found[1]) == 40
            assert await faults_found(running.url, traffic) == []
            assert await asyncio.to_thread(running.stop) == 0
        assert "Traceback" not in running.log


async def test_associations_are_spread_listed_and_limited_together(tmp_path: Path) -> None:
    async with asyncio.timeout(40):
        with gateway(tmp_path, GATEWAY_DICOM__MAX_ASSOCIATIONS_PER_AET="6") as running:
            opened = [await Requestor.open(call(running), BlockPool(1)) for _ in range(6)]
            bodies = await until(lambda: _listing(running, 6), every_s=0.05)
            for body in bodies:
                numbers = [each["Number"] for each in json.loads(body)]
                assert len(set(numbers)) == 6
                assert 2 <= sum(number % 2 for number in numbers) <= 4
            for _ in range(4):
                with pytest.raises(AssociationRefused):
                    async with associate(call(running)):
                        pass
            async with associate(call(running, "OTHER")) as other:
                assert await other.echo() == 0
            await opened.pop().release()
            again = await until(lambda: _opened(running), every_s=0.05)
            for each in (*opened, again):
                await each.abort()


async def _listing(running: Gateway, count: int) -> list[bytes]:
    """What each worker answers for /associations, once all of them list so many; nothing before."""
    bodies = await everywhere(running.url, "/associations")
    return bodies if all(len(json.loads(body)) == count for body in bodies) else []


async def _opened(running: Gateway) -> Requestor | None:
    try:
        return await Requestor.open(call(running), BlockPool(1))
    except AssociationRefused:
        return None


async def test_new_settings_reach_all_and_bad_ones_none(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("")
    async with asyncio.timeout(40):
        with gateway(tmp_path, "--config", str(file)) as running:
            file.write_text('dicom.aet = "CHANGED"\n')
            running.signal(signal.SIGHUP)
            await until(lambda: _all_say(running, b"CHANGED"), every_s=0.05)
            file.write_text('dicom.refused_transfer_syntaxes = ["none"]\ndicom.aet = "BAD"\n')
            running.signal(signal.SIGHUP)
            await asyncio.to_thread(wait_until, lambda: "is not used" in running.log, 10)
            assert all(b"CHANGED" in body for body in await everywhere(running.url, "/system"))


async def _all_say(running: Gateway, text: bytes) -> bool:
    return all(text in body for body in await everywhere(running.url, "/system"))


async def test_what_labels_show_and_hide_holds_for_the_next_request_to_any(tmp_path: Path) -> None:
    """Connections that stay open have asked before, so that whatever a worker has cached would be seen."""
    shown = instance(PatientID="P")
    file = tmp_path / "gateway.toml"
    users = f'[[http.users]]\nname = "anna"\npassword = "{HASH}"\n[[http.users]]\nname = "ben"\npassword = "{HASH}"\n'
    part = 'permissions = ["view", "download"]\nlabels = ["shown", "also"]\nwithout_labels = ["hidden"]\n'
    file.write_text(f'{users}roles = ["part"]\n[roles.part]\n{part}')
    study = f"/dicom-web/studies/{shown.StudyInstanceUID}"
    one = f"{study}/series/{shown.SeriesInstanceUID}/instances/{shown.SOPInstanceUID}"
    patient, labelled = public_id("P"), public_id("P", shown.StudyInstanceUID)
    async with asyncio.timeout(40), AsyncExitStack() as stack:
        running = stack.enter_context(gateway(tmp_path, "--config", str(file)))
        anna, *readers = [
            await stack.enter_async_context(
                aiohttp.ClientSession(running.url, headers={"Authorization": aiohttp.encode_basic_auth(name, "geheim")})
            )
            for name in ("anna", *["ben"] * 6)
        ]

        async def status(reader: aiohttp.ClientSession, path: str) -> int:
            async with reader.get(path) as answer:
                await answer.read()
                return answer.status

        async def check(seen: bool) -> None:
            for path in (f"{one}/frames/1", one, f"{study}/metadata", f"/studies/{labelled}"):
                assert {await status(each, path) for each in readers} == {200 if seen else 404}, path
            for each in readers:
                found = await (await each.get("/dicom-web/instances")).text()
                assert (shown.SOPInstanceUID in found) is seen

        async def label(method: str, path: str) -> None:
            async with anna.request(method, path) as answer:
                assert answer.status == 200

        head = file_header(
            sop_class_uid=shown.SOPClassUID, sop_instance_uid=shown.SOPInstanceUID, transfer_syntax_uid=EXPLICIT
        )
        async with anna.post("/instances", data=head + encode(shown)) as stored:
            assert stored.status == 200
        await check(False)
        for method, path, seen in (
            ("PUT", f"/studies/{labelled}/labels/also", True),
            ("PUT", f"/patients/{patient}/labels/hidden", False),
            ("DELETE", f"/patients/{patient}/labels/hidden", True),
            ("DELETE", f"/studies/{labelled}/labels/also", False),
            ("PUT", f"/patients/{patient}/labels/shown", True),
            ("PUT", f"/studies/{labelled}/labels/hidden", False),
        ):
            await label(method, path)
            await check(seen)


async def test_one_that_is_killed_loses_nothing_and_comes_back(tmp_path: Path) -> None:
    async with asyncio.timeout(60):
        with gateway(tmp_path) as running:
            traffic = Traffic(random.Random(7))
            sending = [asyncio.create_task(_send_for_ever(traffic, running)) for _ in range(6)]
            for index in (0, 1):
                await traffic.until_acknowledged(len(traffic.acknowledged) + 30)
                before = workers(running)
                os.kill(before[index], signal.SIGKILL)
                await asyncio.to_thread(wait_until, lambda b=before: len(set(workers(running)) - set(b)) == 1, 10)
                await traffic.until_acknowledged(len(traffic.acknowledged) + 30)
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
            assert await faults_found(running.url, traffic) == []
            assert running.get("/readyz")[0] == 200


async def _send_for_ever(traffic: Traffic, running: Gateway) -> None:
    async for _ in paced():
        await traffic.send(running.host, running.port)


async def test_one_that_cannot_start_again_is_tried_later(tmp_path: Path) -> None:
    async with asyncio.timeout(40):
        with gateway(tmp_path) as running:
            traffic = Traffic(random.Random(8))
            await traffic.send(running.host, running.port, 1)
            database, aside = running.data / "database.sqlite", tmp_path / "aside"
            database.rename(aside)
            before = workers(running)
            os.kill(before[1], signal.SIGKILL)
            await asyncio.to_thread(
                wait_until,
                lambda: "worker 2 ended with code 2: " in running.log and "again in 0.5 s" in running.log,
                10,
            )
            assert running.get("/readyz")[0] == 200
            aside.rename(database)
            await asyncio.to_thread(wait_until, lambda: running.log.count("worker 2 listens") == 2, 10)
            assert await faults_found(running.url, traffic) == []


def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    running = gateway(tmp_path)
    with running:
        children = workers(running)
        assert len(children) == 2
    wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 5, "a worker is left")


def test_what_no_worker_can_use_is_said_once(tmp_path: Path) -> None:
    """As with one process: exit code 2, and one line that says what to do."""
    data = tmp_path / "data"
    (data / "store" / "0").mkdir(parents=True)
    with pytest.raises(NotStarted, match=r"dicom-gateway: .*database.sqlite is missing"):
        gateway(tmp_path).start()
    assert "Traceback" not in (tmp_path / "data.log").read_text()


@needs_openssl
async def test_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ours = authority.issue("ours", "IP:127.0.0.1")
    file = tmp_path / "gateway.toml"
    names = [f'dicom.tls_{name} = "{value}"' for name, value in (("certificate", ours.certificate), ("key", ours.key))]
    names += [f'http.{name} = "{value}"' for name, value in (("certificate", ours.certificate), ("key", ours.key))]
    file.write_text("\n".join(["dicom.tls_port = 0", *names]))
    context = authority.client_context()
    async with asyncio.timeout(40):
        with gateway(tmp_path, "--config", str(file)) as running:
            for _ in range(4):  # two for each worker
                _, writer = await asyncio.open_connection(running.host, running.tls_port, ssl=context)
                writer.close()
                await writer.wait_closed()
            connector = aiohttp.TCPConnector(ssl=context, force_close=True)
            async with aiohttp.ClientSession(connector=connector) as session:
                for _ in range(4):
                    async with session.get(running.url + "/readyz") as answer:
                        assert (await answer.text()).startswith("ready\n")
            assert await asyncio.to_thread(running.stop) == 0
