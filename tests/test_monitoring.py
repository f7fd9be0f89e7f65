"""Dashboard and alert rules in deploy/: Prometheus takes them, and they name what the gateway has, and all of it that
matters.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from gateway.config import Audit, Http
from gateway.config.destinations import DicomwebDestination
from tests.support import peers
from tests.support.certificates import Authority, needs_openssl
from tests.support.web import archive

DEPLOY = Path(__file__).parents[1] / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"
RULE_TESTS = DEPLOY / "prometheus" / "alerts.test.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboard.json"
NAME = re.compile(r"\bgateway_[a-z0-9_]+\b")
LABELLED = re.compile(r"\b(gateway_[a-z0-9_]+)\{([^}]*)\}")
UNWATCHED = {"gateway_break_glass", "gateway_scrub_bytes"}
"""Emergency accesses have a webhook and the audit log of their own; of the scrub, damage counts."""


def named(text: str) -> set[str]:
    return set(NAME.findall(text))


def expressions() -> list[str]:
    """All that the dashboard asks Prometheus."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The names of the samples that a gateway has, each with the names of its labels."""
    folder = tmp_path_factory.mktemp("metrics")

    async def scrape() -> str:
        async with archive(folder) as made:
            made.audit = Audit(syslog="127.0.0.1:6514")
            made.destinations = {"cloud": DicomwebDestination(url="http://127.0.0.1:9")}
            return await (await made.client.get("/metrics")).text()

    found: dict[str, set[str]] = {}
    for line in asyncio.run(scrape()).splitlines():
        if match := re.match(r"# TYPE (gateway_\w+) (\w+)", line):
            endings = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("",)}.get(match[2], ("",))
            found |= {match[1] + ending: set() for ending in endings}
        if match := re.match(r"(gateway_\w+)(?:\{(.*)\})? ", line):
            found.setdefault(match[1], set()).update(re.findall(r'(\w+)="', match[2] or ""))
    return found


def test_all_that_is_named_is_there(exported: dict[str, set[str]]) -> None:
    for text in (RULES.read_text(), *expressions()):
        assert named(text) - exported.keys() == set()


def test_labels_that_are_named_are_there(exported: dict[str, set[str]]) -> None:
    """Of metrics that this gateway has values of."""
    for text in (RULES.read_text(), *expressions()):
        for name, conditions in LABELLED.findall(text):
            wanted = set(re.findall(r"(\w+)\s*=", conditions)) - {"instance", "job"}
            assert not exported[name] or wanted <= exported[name], name


def test_all_that_is_there_is_watched(exported: dict[str, set[str]]) -> None:
    watched = named(" ".join([RULES.read_text(), *expressions()]))
    families = {re.sub(r"_(bucket|count|sum|total|created)$", "", name) for name in exported}
    seen = {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in watched}
    assert families - seen == UNWATCHED


def test_promtool_takes_the_rules() -> None:
    promtool = peers.need("promtool")
    for command in (["check", "rules", RULES], ["test", "rules", RULE_TESTS]):
        done = subprocess.run([promtool, *map(str, command)], capture_output=True, text=True, timeout=55)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_and_says_what_to_do() -> None:
    rules = RULES.read_text().split("- alert: ")[1:]
    names = [rule.split()[0] for rule in rules]
    assert len(names) == len(set(names)) > 15
    assert set(re.findall(r'alertname="(\w+)"', RULE_TESTS.read_text())) == set(names)
    for rule in rules:
        assert "summary: " in rule
        assert "description: " in rule
        assert re.search(r"severity: (critical|warning)", rule)


@needs_openssl
async def test_ends_of_certificates_and_the_last_backup(tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("gateway")
    async with archive(tmp_path / "data") as made:
        made.http = Http(certificate=issued.certificate, key=issued.key)
        made.destinations = {"x": DicomwebDestination(url="http://h", certificate=str(tmp_path / "missing.pem"))}
        before = await (await made.client.get("/metrics")).text()
        made.ingest.store.note_backup(1700000000.0)
        after = await (await made.client.get("/metrics")).text()
    ends = re.findall(r'^gateway_certificate_ends_seconds\{section="(\w+)"\} (\S+)$', before, re.MULTILINE)
    assert [section for section, _ in ends] == ["http"]
    assert 1.9 * 86400 < float(ends[0][1]) - time.time() < 2.1 * 86400
    assert "gateway_backup_at_seconds 0.0" in before
    assert "gateway_backup_at_seconds 1.7e+09" in after
    assert "gateway_audit_unsent_seconds" not in before
