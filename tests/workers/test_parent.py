"""What the parent hands from one worker to the others, without processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import msgspec
import pytest

from gateway import config
from gateway.errors import ConfigurationError
from gateway.workers.channel import Channel, Failed, Jobs, Message, Systems, Use
from gateway.workers.parent import Parent, as_started
from gateway.workers.sizing import share


class Line:
    """A channel whose worker says what it is given to say."""

    def __init__(self, *says: Message) -> None:
        self.says = says
        self.told: list[Message] = []

    def send(self, message: Message) -> None:
        self.told.append(message)

    async def messages(self) -> AsyncIterator[Message]:
        for message in self.says:
            yield message


@pytest.fixture
async def parent() -> AsyncIterator[Parent]:
    made = Parent(config.load(environment={"GATEWAY_DICOM__PORT": "0", "GATEWAY_HTTP__PORT": "0"}), 3)
    yield made
    for worker in made.workers:
        worker.channel = None
    await made.stop()


def lines(parent: Parent) -> Iterator[Line]:
    for worker in parent.workers:
        line = Line()
        worker.channel = cast(Channel, line)
        yield line


async def says(parent: Parent, number: int, message: Message) -> None:
    await parent._hear(parent.workers[number - 1], cast(Channel, Line(message)))


async def test_a_failed_sync_stops_all(parent: Parent) -> None:
    one, two, three = lines(parent)
    await says(parent, 2, Failed("fsync failed"))
    told = Failed("worker 2: fsync failed")
    assert (one.told, two.told, three.told) == ([told], [], [told])
    await says(parent, 1, told)  # as Health says it again
    assert (one.told, two.told, three.told) == ([told], [], [told])
    assert parent._failures == [told.why]  # and who is started from now on


async def test_jobs_wake_the_first(parent: Parent) -> None:
    one, two, three = lines(parent)
    await says(parent, 3, Jobs())
    assert (one.told, two.told, three.told) == ([Jobs()], [], [])


async def test_systems_reach_all_others(parent: Parent) -> None:
    one, two, three = lines(parent)
    await says(parent, 2, Systems())
    assert (one.told, two.told, three.told) == ([Systems()], [], [Systems()])


async def test_snapshots_are_numbered_and_a_bad_one_reaches_nobody(parent: Parent) -> None:
    one, *_ = lines(parent)
    good = config.load(environment={"GATEWAY_DICOM__AET": "NEW", "GATEWAY_STORAGE__PATH": "elsewhere"})
    first = parent.settings
    await parent.use(good)
    assert one.told == [Use(2, share(as_started(first, good), 3))]
    handed = one.told[0].settings
    assert (handed.dicom.aet, handed.storage.path) == ("NEW", first.storage.path)  # also to who is started later
    with pytest.raises(ConfigurationError):
        await parent.use(config.load(environment={"GATEWAY_DICOM__REFUSED_TRANSFER_SYNTAXES": "none"}))
    assert len(one.told) == 1
    assert parent.settings is good


def test_settings_go_through_the_channel_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("""
        [modalities.ct]
        aet = "CT"
        host = "127.0.0.1"
        port = 104
        allow = ["store"]
        [destinations.pacs]
        kind = "dicom"
        modality = "ct"
        [destinations.cloud]
        kind = "dicomweb"
        url = "https://cloud.example/dicom-web"
        [rules.all]
        destinations = ["pacs", "cloud"]
    """)
    settings = config.load(file, environment={})
    sent = msgspec.json.encode(Use(7, settings))
    assert msgspec.json.decode(sent, type=Message) == Use(7, settings)
