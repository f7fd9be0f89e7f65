"""Examination of a settings snapshot for problems that only other rooms can find, in the files that it names too.

`gateway/config/` finds what the settings show by themselves. `check-config`, `serve` and a reload all call this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from gateway import config, tracing
from gateway.access.principals import role_problems
from gateway.access.tokens import check_tokens
from gateway.access.users import check_users
from gateway.config import Settings
from gateway.config.destinations import FolderDestination
from gateway.config.routes import AttributeTest, Rule
from gateway.database.network import refuse_network_file_system
from gateway.edit.change_set import ChangeSet
from gateway.errors import ConfigurationError, DatabaseError
from gateway.forwarding.rule_engine import CompiledRules
from gateway.index import main_tags
from gateway.net.tls import Certificates, PemFiles, client_context, client_tls, server_certificates
from gateway.remote.kinds import examine_destination
from gateway.routing.router import Router
from gateway.scp.services import Offer
from gateway.scu.node import identity_of
from gateway.web.listener import certificates_of

_FINE = AttributeTest(attribute="Modality", present=True)


class Examined(NamedTuple):
    """A snapshot's compiled parts: the server certificates for DICOM and for the web, and the rules."""

    dicom: Certificates | None
    web: Certificates | None
    rules: CompiledRules


def examine(settings: Settings) -> Examined:
    """Compile the parts of a snapshot. Blocks. Raises ConfigurationError with every problem."""
    found = list(problems(settings))
    if found:
        raise ConfigurationError(*found)
    return Examined(
        server_certificates(settings.dicom),
        certificates_of(settings.http) if settings.http.certificate else None,
        CompiledRules(settings),
    )


def read(
    file: Path | None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> config.Reading:
    """Read settings like `config.read`, with the problems that only other rooms find. Blocks."""
    reading = config.read(file, environment, overrides)
    for text in problems(reading.settings):
        reading.note(text)
    return reading


def load(file: Path | None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Load settings like `config.load`, examined as well. Blocks. Raises ConfigurationError with every problem."""
    reading = read(file, overrides=overrides)
    reading.raise_if_wrong()
    return reading.settings


def problems(settings: Settings) -> Iterator[str]:
    """Yield every problem that only other rooms find, each once. Blocks."""
    yield from role_problems(settings)
    told: set[str] = set()
    for look in _looks(settings):
        try:
            look()
        except ConfigurationError as error:
            yield from (text for text in error.texts if text not in told)
            told.update(error.texts)


def _looks(settings: Settings) -> Iterator[Callable[[], object]]:
    """Yield one check for each setting or table, so that no problem hides another."""
    dicom, http = settings.dicom, settings.http
    yield partial(Offer, dicom)
    for user in http.users:
        yield partial(check_users, (user,))
    yield partial(check_users, http.users)
    yield partial(check_tokens, settings.tokens)
    yield partial(main_tags.built, settings.storage.main_tags)
    if dicom.tls_certificate and dicom.tls_key:
        yield partial(server_certificates, dicom)
    if http.certificate and http.key:
        yield partial(certificates_of, http)
    if (audit := settings.audit).syslog:
        yield partial(client_context, PemFiles.of_section("audit", audit.certificate, audit.key, audit.ca))
    yield partial(tracing.check, settings.tracing)
    for name, modality in settings.modalities.items():
        yield partial(client_tls, dicom, modality)
        yield partial(identity_of, name, modality)
    for name, destination in settings.destinations.items():
        yield partial(examine_destination, name, destination)
    for name, rule in settings.rules.items():
        for part in _conditions(rule):
            yield partial(Router, {name: part})
    for name, changes in settings.changes.items():
        yield partial(ChangeSet.build, name, changes)


def _conditions(rule: Rule) -> Iterator[Rule]:
    """Yield the rule with one of its conditions at a time, each at its own place."""
    bare = msgspec.structs.replace(rule, attributes=(), peers=(), hours=())
    yield msgspec.structs.replace(bare, hours=rule.hours)
    yield msgspec.structs.replace(bare, peers=rule.peers)
    for at, test in enumerate(rule.attributes):
        yield msgspec.structs.replace(bare, attributes=(*[_FINE] * at, test))


def unusable_folders(settings: Settings) -> Iterator[str]:
    """Yield configured folders that are missing or unreadable, and a data folder that cannot be one. Folders may come
    and go while the gateway runs, as mounts do, and are therefore no problems of the configuration. Blocks.
    """
    data = Path(settings.storage.path).absolute()
    existing = next(path for path in (data, *data.parents) if path.exists())  # Missing folders are created.
    if not existing.is_dir():
        yield f"storage.path: {existing} is not a folder"
    try:
        refuse_network_file_system(existing)
    except DatabaseError as error:
        yield f"storage.path: {error}"
    named = {
        "worklist.folder": settings.worklist.folder,
        "http.ohif": settings.http.ohif,
        **{f"tenants.{name}.worklist_folder": tenant.worklist_folder for name, tenant in settings.tenants.items()},
        **{
            f"destinations.{name}.path": section.path
            for name, section in settings.destinations.items()
            if isinstance(section, FolderDestination)
        },
    }
    for place, folder in named.items():
        if folder:
            try:
                next(Path(folder).iterdir(), None)
            except OSError as error:
                yield f"{place}: {folder}: {error.strerror}"
