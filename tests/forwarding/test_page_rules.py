"""Rules of the page: checked beside those of the file, in force as the newest version, exported as TOML."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from gateway.config import Settings
from gateway.config.destinations import FolderDestination
from gateway.config.routes import AttributeTest, Rule
from gateway.config.rule_text import read_rules, rules_text
from gateway.database.sqlite import SQLite
from gateway.dicom.encode import Attribute
from gateway.errors import BadRequest, NotFound
from gateway.forwarding import page_rules
from gateway.forwarding.page_rules import PageRules
from gateway.forwarding.rule_engine import RuleEngine
from gateway.routing.conditions import Facts

BASE = Settings(
    destinations={"nas": FolderDestination(path="/nas"), "old": FolderDestination(path="/old")},
    rules={"all": Rule(destinations=("nas",))},
)
CT = '[rules.ct]\ndestinations = ["nas"]\nattributes = [{ attribute = "Modality", equals = "CT" }]\n'


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SQLite]:
    made = await SQLite.open(tmp_path / "index.db")
    yield made
    await made.close()


class TestText:
    def test_what_is_written_is_read(self):
        rules, problems = read_rules(CT, BASE)
        assert problems == []
        assert rules == {
            "ct": Rule(destinations=("nas",), attributes=(AttributeTest(attribute="Modality", equals="CT"),))
        }
        assert read_rules(rules_text(rules), BASE)[0] == rules

    def test_every_field_survives(self):
        rule = Rule(
            destinations=("nas",),
            newest_first=True,
            calling_aets=("CT*", 'A"B'),
            peers=("10.0.0.0/8",),
            via=("stow",),
            hours=("07:00-19:00",),
            days=("mon",),
            attributes=(AttributeTest(attribute="PatientID", one_of=("1", "2"), inverted=True),),
            each="study",
            stable_after=5.5,
            incomplete="send",
            priority=-3,
            last=True,
        )
        rules, problems = read_rules(rules_text({"x-1": rule}), BASE)
        assert (rules, problems) == ({"x-1": rule}, [])

    @pytest.mark.parametrize(
        ("text", "line", "said"),
        [
            ("[rules.ct\n", 1, "not valid TOML"),
            ("\n[http]\nport = 80\n", 2, "only rules may stand here"),
            ('[rules.all]\ndestinations = ["nas"]\n', 1, "has a rule of this name"),
            ('[rules.ct]\n\ndestinations = ["nowhere"]\n', 3, "there is no [destinations.nowhere]"),
            ('[rules.ct]\ndestination = ["nas"]\n', 2, "there is no such setting"),
            ("[rules.ct]\ndestinations = 5\n", 2, "it must be a list"),
            ("rules = 5\n", 1, ""),
            ("[rules.ct]\npriority = 1\n", 1, "the rule does nothing"),
        ],
    )
    def test_problems_have_lines(self, text: str, line: int, said: str):
        rules, problems = read_rules(text, BASE)
        assert rules == {}
        assert [(each.line, said in each.text) for each in problems] == [(line, True)]


class TestInForce:
    async def test_newest_version_extends_the_configuration(self, database: SQLite):
        told: list[int] = []
        rules = PageRules(database, lambda: BASE, changed=lambda: told.append(1), clock=lambda: 5.0)
        assert rules.extend(BASE) is BASE
        await rules.apply(CT, "anna")
        extended = rules.extend(BASE)
        assert list(extended.rules) == ["all", "ct"]
        assert rules.extend(BASE) is extended
        assert told == [1]
        (version,) = await rules.versions()
        assert (version.content, version.user, version.made_at) == (CT, "anna", 5.0)

        other = PageRules(database, lambda: BASE)
        await other.refresh()
        assert list(other.extend(BASE).rules) == ["all", "ct"]

    async def test_the_rule_engine_follows(self, database: SQLite):
        rules = PageRules(database, lambda: BASE)
        engine = RuleEngine(lambda: BASE)
        engine.read_from(lambda: rules.extend(BASE))
        facts = Facts("CT1", "GATEWAY", "10.0.0.1", "dimse", 0.0, {0x00080060: Attribute("CS", ["CT"])})
        before = engine.compiled
        assert [name for name, _ in before.router.route(facts)] == ["all"]
        await rules.apply(CT, "anna")
        assert [name for name, _ in engine.compiled.router.route(facts)] == ["all", "ct"]
        assert engine.compiled.generation != before.generation

    async def test_back_to_an_earlier_one(self, database: SQLite):
        rules = PageRules(database, lambda: BASE)
        await rules.apply(CT, "anna")
        await rules.apply("", "ben")
        assert rules.extend(BASE) is BASE
        first = (await rules.versions())[-1].id
        await rules.roll_back(first, "cleo")
        assert [(each.content, each.user) for each in await rules.versions()] == [
            (CT, "cleo"),
            ("", "ben"),
            (CT, "anna"),
        ]
        with pytest.raises(NotFound):
            await rules.roll_back(99, "cleo")

    async def test_nothing_wrong_is_put_in_force(self, database: SQLite, monkeypatch: pytest.MonkeyPatch):
        rules = PageRules(database, lambda: BASE)
        wrong = '[rules.ct]\ndestinations = ["nas"]\nattributes = [{ attribute = "Modality", matches = "(" }]\n'
        (problem,) = rules.check(wrong).problems
        assert problem.line == 3
        with pytest.raises(BadRequest, match=r"rules\.ct"):
            await rules.apply(wrong, "anna")
        monkeypatch.setattr(page_rules, "MAX_BYTES", 10)
        with pytest.raises(BadRequest, match="bytes"):
            await rules.apply(CT, "anna")
        assert await rules.versions() == []

    async def test_what_the_file_takes_away_is_left_out(self, database: SQLite):
        both = CT + '[rules.mr]\ndestinations = ["old"]\n'
        rules = PageRules(database, lambda: BASE)
        await rules.apply(both, "anna")
        less = msgspec.structs.replace(BASE, destinations={"nas": BASE.destinations["nas"]})
        assert list(rules.extend(less).rules) == ["all", "ct"]
        renamed = msgspec.structs.replace(BASE, rules={"ct": Rule(destinations=("old",))})
        assert rules.extend(renamed).rules["ct"].destinations == ("old",)

    async def test_versions_are_bounded(self, database: SQLite, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(page_rules, "MAX_VERSIONS", 3)
        rules = PageRules(database, lambda: BASE)
        for number in range(5):
            await rules.apply(f"# {number}\n", "anna")
        assert [each.content for each in await rules.versions()] == ["# 4\n", "# 3\n", "# 2\n"]
