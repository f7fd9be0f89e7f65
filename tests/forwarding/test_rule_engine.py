"""What rules begin when an instance is stored: one delivery for each version, set of changes and destination."""

from __future__ import annotations

import msgspec
import pytest

from gateway.admin.deletion import Removal
from gateway.database.database import Script
from gateway.forwarding import queries
from gateway.forwarding.control import Selection
from gateway.forwarding.table import forget_deliveries
from gateway.jobs.table import finish_job
from tests.forwarding.conftest import Archive


async def deliver(archive: Archive) -> None:
    """Every delivery that can be done is done."""
    claimed = await archive.claim()

    def script() -> Script[None]:
        for job in claimed:
            yield from finish_job(job, "done", archive.now)
            yield queries.END, (job.id, archive.now, "delivered", "")

    await archive.database.write(script)


async def test_without_rules_nothing_goes_anywhere(archive: Archive) -> None:
    await archive.store()
    assert await archive.places() == []


async def test_every_rule_that_matches_sends(archive: Archive) -> None:
    archive.configure(
        ct={"destinations": ["pacs"], "attributes": [{"attribute": "Modality", "equals": "CT"}], "priority": 3},
        mr={"destinations": ["other"], "attributes": [{"attribute": "Modality", "equals": "MR"}]},
        all={"destinations": ["other", "pacs"]},
    )
    await archive.store()
    assert await archive.places() == [("1.2.3.4", "pacs", "waiting"), ("1.2.3.4", "other", "waiting")]
    first, second = await archive.all()
    assert (first.rule, first.priority) == ("ct", 4)  # the rule's and the destination's
    assert (second.rule, second.priority) == ("all", 0)
    assert first.generation == archive.rule_engine.compiled.generation != ""


async def test_an_attribute_that_the_index_does_not_keep(archive: Archive) -> None:
    archive.configure(
        thick={"destinations": ["pacs"], "attributes": [{"attribute": "SliceThickness", "at_least": "5"}]}
    )
    await archive.store("1.1", SliceThickness="7.5")
    await archive.store("1.2", SliceThickness="1.25")
    assert [each.sop_uid for each in await archive.all()] == ["1.1"]


async def test_nothing_is_sent_back_to_where_it_came_from(archive: Archive) -> None:
    archive.configure(all={"destinations": ["other", "pacs"]})
    await archive.store(calling_aet="PACS")
    assert await archive.places() == [("1.2.3.4", "other", "waiting")]


async def test_what_waits_in_the_inbox_goes_nowhere(archive: Archive) -> None:
    """Neither by itself, nor with its study when more of that comes another way."""
    archive.configure(one={"destinations": ["pacs"]}, whole={"destinations": ["other"], "each": "study"})
    await archive.store(via="inbox")
    assert (await archive.places(), await archive.settle()) == ([], 0)
    await archive.store("1.2.3.5")
    archive.now += 10_000
    assert await archive.settle() == 1
    assert {(instance, name) for instance, name, _ in await archive.places()} == {
        ("1.2.3.5", "pacs"),
        ("1.2.3.5", "other"),
    }


async def test_the_same_again_goes_nowhere(archive: Archive) -> None:
    archive.configure(all={"destinations": ["pacs"]})
    await archive.store()
    await archive.store()
    assert len(await archive.all()) == 1


async def test_a_newer_version_takes_the_place_of_an_older_one(archive: Archive) -> None:
    archive.configure(all={"destinations": ["pacs"]})
    await archive.store()
    await archive.store(PatientComments="corrected")
    assert await archive.places() == [("1.2.3.4", "pacs", "cancelled"), ("1.2.3.4", "pacs", "waiting")]
    old, new = await archive.all()
    assert (old.version, old.detail, new.version) == (1, "version 2 has come", 2)


async def test_a_version_supersedes_though_no_rule_wants_it_now(archive: Archive) -> None:
    archive.configure(all={"destinations": ["pacs"]})
    await archive.store()
    archive.configure()
    await archive.store(PatientComments="corrected")
    assert await archive.places() == [("1.2.3.4", "pacs", "cancelled")]


@pytest.mark.case("broken 05 what is deleted and sent again is delivered again")
async def test_what_is_deleted_and_comes_again_goes_again(archive: Archive) -> None:
    """The delivery of the deleted one is not taken for the new one's, which goes on counting versions."""
    archive.configure(all={"destinations": ["pacs"]})
    await archive.store()
    await deliver(archive)
    removal = Removal(archive.ingest, clock=lambda: archive.now)
    for version in (2, 3):
        await removal.by_uid(["1.2"])
        assert (await archive.store(PatientComments="corrected")).version == version
    assert [(each.version, each.state) for each in await archive.all()] == [
        (1, "delivered"),
        (2, "cancelled"),
        (3, "waiting"),
    ]


async def test_versions_of_the_deleted_are_forgotten_with_their_deliveries(archive: Archive) -> None:
    archive.configure(all={"destinations": ["pacs"]})
    await archive.store()
    later = archive.now + 1.0
    await Removal(archive.ingest, clock=lambda: archive.now).by_uid(["1.2"])
    assert await archive.database.write(lambda: forget_deliveries(later)) == 0  # its delivery is not over
    await deliver(archive)
    assert await archive.database.write(lambda: forget_deliveries(later)) == 2
    assert (await archive.store()).version == 1


async def test_the_newest_study_first_where_a_rule_says_so(archive: Archive) -> None:
    archive.configure(all={"destinations": ["pacs"], "newest_first": True})
    for number in range(3):
        archive.now = 1000.0 + number
        await archive.store(f"1.{number}", StudyInstanceUID=f"2.{number}")
    archive.now = 1010.0
    await archive.store("1.9", StudyInstanceUID="2.1")
    sent = [each.sop_uid for each in await archive.deliveries.queue("pacs")]
    assert sent == ["1.2", "1.1", "1.9", "1.0"]
    assert len(await archive.claim()) == 4


class TestWholeStudies:
    @pytest.fixture(autouse=True)
    def _rule(self, archive: Archive) -> None:
        ct = [{"attribute": "InstanceNumber", "equals": "1"}]
        archive.configure(whole={"destinations": ["pacs"], "each": "study", "stable_after": 60.0, "attributes": ct})

    async def test_all_of_it_goes_once_it_is_stable(self, archive: Archive) -> None:
        """What no condition holds for goes with the study too."""
        await archive.store("1.1", InstanceNumber="1")
        await archive.store("1.2", InstanceNumber="2", SeriesInstanceUID="9.9")
        await archive.store("1.3", InstanceNumber="1", StudyInstanceUID="5.5", SeriesInstanceUID="5.6")
        archive.now += 59
        assert await archive.settle() == 0
        archive.now += 1
        assert await archive.settle() == 2
        assert sorted(await archive.places()) == [(uid, "pacs", "waiting") for uid in ("1.1", "1.2", "1.3")]

    async def test_news_moves_the_moment(self, archive: Archive) -> None:
        await archive.store("1.1", InstanceNumber="1")
        archive.now += 40
        await archive.store("1.2", InstanceNumber="1")
        archive.now += 40
        assert await archive.settle() == 0
        archive.now += 20
        assert await archive.settle() == 1

    async def test_late_ones_follow_alone(self, archive: Archive) -> None:
        await archive.store("1.1", InstanceNumber="1")
        archive.now += 60
        await archive.settle()
        await archive.store("1.2", InstanceNumber="1")
        archive.now += 60
        await archive.settle()
        assert [each.sop_uid for each in await archive.all()] == ["1.1", "1.2"]

    async def test_a_series_alone(self, archive: Archive) -> None:
        archive.configure(whole={"destinations": ["pacs"], "each": "series", "stable_after": 60.0})
        await archive.store("1.1")
        archive.now += 50
        await archive.store("1.2", SeriesInstanceUID="9.9")
        archive.now += 10
        await archive.settle()
        assert [each.sop_uid for each in await archive.all()] == ["1.1"]

    async def test_nothing_goes_back(self, archive: Archive) -> None:
        await archive.store("1.1", InstanceNumber="1", calling_aet="PACS")
        await archive.store("1.2", InstanceNumber="1")
        archive.now += 60
        await archive.settle()
        assert [each.sop_uid for each in await archive.all()] == ["1.2"]


class TestControl:
    @pytest.fixture(autouse=True)
    async def _three(self, archive: Archive) -> None:
        archive.configure(all={"destinations": ["pacs", "other"]})
        for number in range(3):
            await archive.store(f"1.{number}")

    async def test_cancel_and_resend_a_destination(self, archive: Archive) -> None:
        chosen = Selection(destination="pacs")
        assert await archive.deliveries.act("cancel", chosen) == 3
        assert {state for _, name, state in await archive.places() if name == "pacs"} == {"cancelled"}
        assert {state for _, name, state in await archive.places() if name == "other"} == {"waiting"}
        assert await archive.deliveries.act("cancel", chosen) == 0
        assert await archive.deliveries.act("resend", chosen) == 3
        assert {state for _, _, state in await archive.places()} == {"waiting"}
        assert len({job.id for job in await archive.claim()}) == 6

    async def test_hold_and_release_an_instance(self, archive: Archive) -> None:
        instance = (await archive.all())[0].instance
        assert await archive.deliveries.act("hold", Selection(instance=instance)) == 2
        assert len(await archive.claim()) == 4
        assert [each.sop_uid for each in await archive.deliveries.queue("pacs", "held")] == ["1.0"]
        assert await archive.deliveries.act("release", Selection(instance=instance, destination="pacs")) == 1
        assert len(await archive.claim()) == 1

    async def test_a_held_destination(self, archive: Archive) -> None:
        await archive.deliveries.hold_destination("pacs")
        assert {job.queue for job in await archive.claim()} == {"to:other"}
        (pacs, other) = await archive.deliveries.destinations()
        assert (pacs.name, pacs.held, pacs.waiting, pacs.sending) == ("pacs", True, 3, 0)
        assert (other.held, other.waiting, other.sending) == (False, 0, 3)
        await archive.deliveries.release_destination("pacs")
        assert {job.queue for job in await archive.claim()} == {"to:pacs"}

    async def test_what_is_left_of_a_destination_that_is_gone_is_shown(self, archive: Archive) -> None:
        archive.settings = msgspec.structs.replace(archive.settings, destinations={}, rules={})
        (_, left) = await archive.deliveries.destinations()
        assert not left.configured
        assert left.waiting == 3

    async def test_pages(self, archive: Archive) -> None:
        first = await archive.deliveries.page(Selection(destination="pacs"), limit=2)
        assert [each.sop_uid for each in first.deliveries] == ["1.2", "1.1"]
        assert first.before is not None
        second = await archive.deliveries.page(Selection(destination="pacs"), before=first.before, limit=2)
        assert [each.sop_uid for each in second.deliveries] == ["1.0"]
        assert second.before is None

    async def test_by_study_series_and_state(self, archive: Archive) -> None:
        one = (await archive.all())[0]
        await archive.deliveries.act_on("cancel", one.id)
        for chosen in (
            Selection(study=one.study, state="cancelled"),
            Selection(study=one.study, series=one.series, state="cancelled"),
            Selection(destination="pacs", state="cancelled"),
        ):
            assert [each.id for each in (await archive.deliveries.page(chosen)).deliveries] == [one.id]


class TestIncomplete:
    """Pixel data that are cut short."""

    async def store(self, archive: Archive, instance: str = "1.2.3.4", size: int = 100) -> None:
        await archive.store(instance, Rows=16, Columns=16, PixelData=bytes(size), PixelDataProviderURL=None)

    @pytest.mark.case("deliveries of what lacks pixel data are held unless the rule says to send them")
    async def test_it_is_held_unless_the_rule_says_otherwise(self, archive: Archive) -> None:
        archive.configure(first={"destinations": ["pacs"]}, second={"destinations": ["other"], "incomplete": "send"})
        await self.store(archive)
        first, second = await archive.all()
        assert (first.destination, first.state) == ("pacs", "held")
        assert first.error == "incomplete: 100 of 512 bytes of pixel data"
        assert (second.destination, second.state) == ("other", "waiting")
        assert await archive.deliveries.act("release", Selection(destination="pacs")) == 1
        assert [each.state for each in await archive.all()] == ["waiting", "waiting"]

    async def test_of_a_whole_study_too(self, archive: Archive) -> None:
        archive.configure(study={"destinations": ["pacs"], "each": "study", "stable_after": 10})
        await self.store(archive, "1.1")
        await self.store(archive, "1.2", 512)
        archive.now += 20
        await archive.settle()
        assert await archive.places() == [("1.1", "pacs", "held"), ("1.2", "pacs", "waiting")]

    async def test_once_all_of_it_has_come_that_goes(self, archive: Archive) -> None:
        archive.configure(all={"destinations": ["pacs"]})
        await self.store(archive)
        await self.store(archive, size=512)
        assert await archive.places() == [("1.2.3.4", "pacs", "cancelled"), ("1.2.3.4", "pacs", "waiting")]
