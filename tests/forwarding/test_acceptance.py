"""Acceptance of what waits in the inbox: the rules are applied to it as to an arrival, once, and to nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.forwarding import acceptance
from gateway.forwarding.acceptance import Acceptance
from gateway.index.identity import public_id
from gateway.index.inbox import waiting_instances, waiting_studies
from tests.forwarding.conftest import Archive

STUDY = public_id("1CT1", "1.2")


@pytest.fixture
def accepting(archive: Archive) -> Acceptance:
    folder = archive.folder
    return Acceptance(
        folder.database, folder.store, lambda: archive.settings, wake=archive.jobs_added.set, clock=lambda: archive.now
    )


async def waiting(archive: Archive) -> int:
    return len(await waiting_instances(archive.database, STUDY))


async def test_rules_see_it_as_it_arrived(archive: Archive, accepting: Acceptance) -> None:
    ct = [{"attribute": "Modality", "equals": "CT"}]
    archive.configure(
        ct={"destinations": ["pacs"], "attributes": ct, "via": ["inbox"], "peers": ["10.0.0.7"]},
        mr={"destinations": ["other"], "attributes": [{"attribute": "Modality", "equals": "MR"}]},
        sent={"destinations": ["other"], "via": ["dimse"]},
    )
    for number in range(3):
        await archive.store(f"1.2.3.{number}", via="inbox")
    assert await archive.places() == []
    assert await accepting.accept(STUDY) == 3
    assert sorted(await archive.places()) == [(f"1.2.3.{number}", "pacs", "waiting") for number in range(3)]
    assert archive.jobs_added.is_set()
    assert await waiting_studies(archive.database, 9) == []


async def test_page_by_page(archive: Archive, accepting: Acceptance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptance, "_PAGE", 2)
    archive.configure(all={"destinations": ["pacs"]})
    for number in range(5):
        await archive.store(f"1.2.3.{number}", via="inbox")
    assert await accepting.accept(STUDY) == 5
    assert len(await archive.places()) == 5


async def test_what_did_not_wait_is_not_sent_again(archive: Archive, accepting: Acceptance) -> None:
    await archive.store("1.2.3.1", via="dimse")
    await archive.store("1.2.3.2", via="inbox")
    archive.configure(all={"destinations": ["pacs"]})
    assert await accepting.accept(STUDY) == 1
    assert [each[0] for each in await archive.places()] == ["1.2.3.2"]
    assert await accepting.accept(STUDY) == 0
    assert len(await archive.places()) == 1


async def test_a_whole_study_goes_once_it_is_stable(archive: Archive, accepting: Acceptance) -> None:
    archive.configure(all={"destinations": ["pacs"], "each": "study", "stable_after": 60})
    await archive.store("1.2.3.1", via="inbox")
    await accepting.accept(STUDY)
    assert await archive.places() == []
    await archive.store("1.2.3.2", via="inbox")
    archive.now += 61
    assert await archive.settle() == 1
    assert [each[0] for each in await archive.places()] == ["1.2.3.1"], "the other one waits"
    await accepting.accept(STUDY)
    archive.now += 61
    assert await archive.settle() == 1
    assert sorted(each[0] for each in await archive.places()) == ["1.2.3.1", "1.2.3.2"]


async def test_a_file_that_is_gone_is_accepted_and_goes_nowhere(
    archive: Archive, accepting: Acceptance, caplog: pytest.LogCaptureFixture
) -> None:
    archive.configure(ct={"destinations": ["pacs"], "attributes": [{"attribute": "Modality", "equals": "CT"}]})
    await archive.store("1.2.3.1", via="inbox")
    for path in Path(archive.settings.storage.path, "segments").rglob("*"):
        if path.is_file():
            path.unlink()
    assert await accepting.accept(STUDY) == 1
    assert (await archive.places(), await waiting(archive)) == ([], 0)
    assert "no rule can be asked about it" in caplog.text
