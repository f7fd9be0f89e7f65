"""Images under way: senders that remember what was acknowledged, and the check that it is all there.

What is sent is made here byte by byte, and sent verbatim: what comes back can be compared with it.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import aiohttp

from gateway.dicom.part10 import file_header
from gateway.errors import GatewayError
from gateway.net.requestor import Call, Requestor, associate

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
ROOT = "2.25."


@dataclass(frozen=True, slots=True)
class Item:
    """One instance: its UIDs and its data set in Explicit VR Little Endian."""

    study: str
    series: str
    uid: str
    data: bytes


def new_uid(chance: random.Random) -> str:
    return ROOT + str(chance.getrandbits(120))


def patient_of(study: str) -> str:
    """The Patient ID of what is made for a study."""
    return "P" + study[-6:]


def make_item(chance: random.Random, study: str, series: str, number: int, pixels: int, uid: str = "") -> Item:
    """A small CT instance with `pixels` random bytes of pixel data, last in it; a new one where no UID is given."""
    uid = uid or new_uid(chance)
    elements = [
        (0x0008, 0x0016, b"UI", CT),
        (0x0008, 0x0018, b"UI", uid),
        (0x0008, 0x0020, b"DA", "20260102"),
        (0x0008, 0x0030, b"TM", "101112"),
        (0x0008, 0x0050, b"SH", study[-8:]),
        (0x0008, 0x0060, b"CS", "CT"),
        (0x0010, 0x0010, b"PN", "Doe^Jane"),
        (0x0010, 0x0020, b"LO", patient_of(study)),
        (0x0020, 0x000D, b"UI", study),
        (0x0020, 0x000E, b"UI", series),
        (0x0020, 0x0013, b"IS", str(number)),
    ]
    parts = []
    for group, element, vr, text in elements:
        value = text.encode()
        if len(value) % 2:
            value += b"\0" if vr == b"UI" else b" "
        parts.append(struct.pack("<HH2sH", group, element, vr, len(value)) + value)
    value = chance.randbytes(pixels + pixels % 2)
    parts.append(struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, len(value)) + value)
    return Item(study, series, uid, b"".join(parts))


def as_file(item: Item) -> bytes:
    """The instance as a DICOM file."""
    head = file_header(sop_class_uid=CT, sop_instance_uid=item.uid, transfer_syntax_uid=EXPLICIT)
    return head + item.data


@dataclass
class Traffic:
    """Senders, and what they know. `acknowledged` is what a success came back for."""

    chance: random.Random
    sizes: tuple[int, ...] = (2_000, 2_000, 20_000, 150_000)
    sent: dict[str, Item] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    refused: dict[str, int] = field(default_factory=dict)
    """Statuses other than success, by instance."""
    progress: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with every acknowledgement."""

    def items(self) -> Iterator[Item]:
        """Without end; twenty to a series, a study for each sender."""
        study, series = new_uid(self.chance), ""
        number = 0
        while True:
            if number % 20 == 0:
                series = new_uid(self.chance)
            number += 1
            yield make_item(self.chance, study, series, number, self.chance.choice(self.sizes))

    async def send(self, host: str, port: int, count: int | None = None) -> None:
        """One association, `count` instances (None: for ever); ends quietly when the gateway goes."""
        call = Call(host, port, called_aet="GATEWAY", calling_aet="TRAFFIC", contexts=[(CT, [EXPLICIT])])
        try:
            async with associate(call) as association:
                for number, item in enumerate(self.items()):
                    if number == count:
                        break
                    await self.send_item(association, item)
        except (GatewayError, OSError):
            pass

    async def post(self, url: str, count: int = 8) -> None:
        """STOW-RS, `count` instances a request, for ever; ends quietly when the gateway goes."""
        items = self.items()
        try:
            async with aiohttp.ClientSession() as session:
                while True:
                    some = [next(items) for _ in range(count)]
                    self.sent.update((item.uid, item) for item in some)
                    parts = [b"--X\r\nContent-Type: application/dicom\r\n\r\n" + as_file(item) for item in some]
                    body = b"\r\n".join([*parts, b"--X--"])
                    headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=X'}
                    async with session.post(
                        f"{url}/dicom-web/studies", data=io.BytesIO(body), headers=headers
                    ) as answer:
                        model = json.loads(await answer.read())
                    assert answer.status == 200, model
                    for item in model["00081199"]["Value"]:
                        self.acknowledged.add(item["00081155"]["Value"][0])
                    self.progress.set()
        except (aiohttp.ClientError, OSError):
            pass

    async def send_item(self, association: Requestor, item: Item) -> int:
        """Its status. Raises AssociationLost."""
        self.sent[item.uid] = item
        answer = await association.store(association.context_for(CT), item.uid, [item.data])
        status = answer.status or 0
        if status == 0:
            self.acknowledged.add(item.uid)
            self.progress.set()
        else:
            self.refused[item.uid] = status
        return status

    async def until_acknowledged(self, count: int, timeout: float = 20.0) -> None:
        """Wait until so many instances have been acknowledged in all."""
        async with asyncio.timeout(timeout):
            while len(self.acknowledged) < count:
                self.progress.clear()
                await self.progress.wait()


async def faults_found(url: str, traffic: Traffic, only: set[str] | None = None) -> list[str]:
    """What is wrong with what a gateway has, asked over DICOMweb; an empty list is what is wanted.

    Everything acknowledged must be listed, and everything listed must come back byte for byte as it was sent,
    acknowledged or not. `only` narrows the check to these studies.
    """
    wrong: list[str] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=16)) as session:
        listed: dict[str, tuple[str, str]] = {}
        studies = {item.study for item in traffic.sent.values()} if only is None else only
        for study in studies:
            for uid, series in await _list(session, url, study):
                if uid in listed:
                    wrong.append(f"{uid} is listed twice")
                listed[uid] = (study, series)
        wrong += [
            f"{uid} was acknowledged and is not there"
            for uid in traffic.acknowledged
            if uid not in listed and traffic.sent[uid].study in studies
        ]
        room = asyncio.Semaphore(16)

        async def check(uid: str) -> None:
            async with room:
                if text := await _compare(session, url, uid, listed[uid], traffic.sent.get(uid)):
                    wrong.append(text)

        await asyncio.gather(*(check(uid) for uid in listed))
    return wrong


async def _list(session: aiohttp.ClientSession, url: str, study: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    while True:
        query = {"limit": "1000", "offset": str(len(found))}
        async with session.get(f"{url}/dicom-web/studies/{study}/instances", params=query) as answer:
            if answer.status == 204:
                return found
            assert answer.status == 200, f"{answer.status}: {await answer.text()}"
            page = json.loads(await answer.read())
        found += [(row["00080018"]["Value"][0], row["0020000E"]["Value"][0]) for row in page]
        if len(page) < 1000:
            return found


async def _compare(
    session: aiohttp.ClientSession, url: str, uid: str, place: tuple[str, str], item: Item | None
) -> str:
    if item is None:
        return f"{uid} is listed and was never sent"
    path = f"{url}/dicom-web/studies/{place[0]}/series/{place[1]}/instances/{uid}"
    async with session.get(path, headers={"Accept": "application/dicom; transfer-syntax=*"}) as answer:
        body = await answer.read()
        if answer.status != 200:
            return f"{uid} is listed and cannot be had: {answer.status} {body[:200]!r}"
    if body[128:132] != b"DICM":
        return f"{uid} is not a DICOM file"
    (length,) = struct.unpack_from("<I", body, 140)
    return "" if body[144 + length :] == item.data else f"{uid} has other bytes than were sent"
