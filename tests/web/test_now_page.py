"""The page of what happens now: what is open, what came, what goes wrong, and what to do about it."""

from __future__ import annotations

import pytest

from gateway.index.traffic import Traffic
from gateway.net.session import AssociationStatus
from gateway.web.pages.forecast import forecast
from gateway.web.pages.plots import HEIGHT, MAX_SOURCES, Amount, plot
from tests.support.web import House
from tests.web.test_modalities_page import record

DAY = 86400.0


async def page(gateway: House, path: str = "/ui/now") -> str:
    answer = await gateway.get(path)
    assert answer.status == 200, await answer.text()
    return await answer.text()


class TestPage:
    async def test_empty(self, gateway: House):
        text = await page(gateway)
        assert "Nobody is connected at the moment." in text
        assert "Nothing went wrong lately." in text
        assert "There is too little history" in text

    async def test_who_sends(self, gateway: House):
        gateway.associations = [AssociationStatus(7, "CT<1", "GATEWAY", "10.1.2.3", 1000.0, "Sta6", 3, 99)]
        for path in ("/ui/now", "/ui/now/live"):
            text = await page(gateway, path)
            assert 'href="/ui/associations/7">CT&lt;1</a>' in text
            assert "3 instances" in text

    async def test_not_ready(self, gateway: House):
        gateway.reasons = ["the disk is <full>"]
        text = await page(gateway)
        assert "Not ready" in text
        assert "the disk is &lt;full&gt;" in text

    async def test_troubles_are_counted_by_kind(self, gateway: House):
        rejected = {"outcome": "rejected", "code": "1.1.3", "detail": "<unknown>"}
        gateway.records = [
            record(3, **rejected),
            record(2),
            record(1, **rejected),
            record(0, host="10.9.9.9", **rejected),
        ]
        text = await page(gateway)
        assert text.count("We have rejected CT1 at 10.1.2.3") == 1
        assert "2 times" in text
        assert "We have rejected CT1 at 10.9.9.9" in text
        assert "&lt;unknown&gt;" in text


class TestPlot:
    def test_bars_stand_on_each_other(self):
        amounts = [Amount(100.0, "a", 3, 30), Amount(119.0, "b", 1, 10), Amount(70.0, "a", 2), Amount(0.0, "a", 9)]
        found = plot(amounts, ends=119.0, interval_s=20, bars=3)
        assert [bar.count for bar in found.bars] == [2, 0, 4]
        assert [(source.name, source.count, source.bytes) for source in found.sources] == [("a", 5, 30), ("b", 1, 10)]
        first, second = found.bars[2].blocks
        assert (first.y + first.height, second.y + second.height) == (HEIGHT, first.y)
        assert second.y == 0
        assert (found.begins, found.most) == (60, 4)

    def test_few_colours(self):
        found = plot([Amount(0.0, str(n), 1) for n in range(20)], ends=1.0, interval_s=10, bars=1)
        assert len(found.sources) == MAX_SOURCES + 1
        assert (found.sources[-1].name, found.sources[-1].count) == ("", 20 - MAX_SOURCES)

    def test_nothing(self):
        found = plot([], ends=1.0, interval_s=10, bars=2)
        assert (found.count, found.most, len(found.bars)) == (0, 0, 2)


class TestForecast:
    @pytest.mark.parametrize(
        ("hours", "days_left"),
        [
            ([], -1),
            ([Traffic(100 * DAY - 3600, "a", 1, 10)], -1),
            ([Traffic(90 * DAY, "a", 1, 50), Traffic(99 * DAY, "a", 1, 50)], 9),
            ([Traffic(1 * DAY, "a", 1, 10**9), Traffic(90 * DAY, "a", 1, 100)], 9),
            ([Traffic(90 * DAY, "a", 0, 0)], -1),
        ],
    )
    def test_at_this_pace(self, hours: list[Traffic], days_left: int):
        found = forecast(hours, now=100 * DAY, used=100, free=190, floor=100)
        assert found.days_left == days_left
        assert 0 < found.share < 1
