"""The page of users and roles: what each role permits and who has it, who is signed in, and every token and link.

Users and roles of the configuration are shown; roles that were added over REST are changed here too, as
`PUT /auth/settings/roles` allows. All of it works without scripts.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import urlencode

from aiohttp import web

from gateway.access.changes import MAX_LABELS, MAX_ROLES
from gateway.access.issued_tokens import IssuedToken, TokenKind
from gateway.access.principals import ANYBODY, user_of
from gateway.config import Settings, User
from gateway.config.roles import BUILT_IN, LEVELS_OF_PERMISSION, OF_STUDIES, PERMISSIONS, Role
from gateway.errors import NotFound
from gateway.index.annotations import LABEL_TEXT
from gateway.web.auditing import detailed
from gateway.web.authentication import EMERGENCIES
from gateway.web.authorization import PRINCIPAL
from gateway.web.context import CONTEXT
from gateway.web.inputs import read_form
from gateway.web.pages.frame import page_answer
from gateway.web.rest.users import ACCESS_CHANGES
from gateway.web.route import Parameter, Route
from gateway.web.sessions import ISSUED_TOKENS, SESSION, check_form, cookie_of
from gateway.web.urls import path_template, path_to

log = logging.getLogger(__name__)

_SHOWN: Final = 200
"""Sessions, tokens and links of each kind on the page."""
_LISTS: Final = ("labels", "without_labels", "sources", "patients", "studies")
"""The conditions of a role that are lists; beside them there are `tenant` and `days`."""
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_AUDITED: Final = ("what", "id", "name", "user", "role")
"""Fields of forms that are in the audit log."""
_DONE: Final = ("role", "removed", "labels", "revoked", "ended", "given", "taken")


class _Wrong(Exception):
    """A form cannot be taken: `why` is in `words/users.toml`, `what` a permission that it names."""

    def __init__(self, why: str, what: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.what = what


@dataclass(frozen=True, slots=True)
class RoleRow:
    """A role, and who has it."""

    name: str
    role: Role
    origin: str
    """`built_in`, `configuration` or `added`."""
    holders: list[str]

    @property
    def is_changeable(self) -> bool:
        return self.origin == "added" or (self.origin == "built_in" and self.name != "admin")

    @property
    def conditions(self) -> list[tuple[str, str]]:
        """The conditions on studies by name, with their values in one text."""
        return [(name, value) for name, value in _texts(self.role).items() if value]


@dataclass(frozen=True, slots=True)
class RoleForm:
    """The fields of the form of a role, as they are shown."""

    name: str = ""
    permissions: tuple[str, ...] = ()
    conditions: Mapping[str, str] = field(default_factory=lambda: _texts(Role(permissions=())))
    is_new: bool = True


async def users(request: web.Request) -> web.Response:
    """The page of users, roles, sessions, tokens and links."""
    return await _page(request)


async def act(request: web.Request) -> web.StreamResponse:
    """Perform the action of a form of the page."""
    form = await read_form(request)
    check_form(request, form)
    await detailed(request, **{name: form[name][:64] for name in _AUDITED if name in form})
    action = _ACTIONS.get(form.get("what", ""))
    try:
        if action is None:
            raise _Wrong("gone")
        done = await action(request, form)
    except (_Wrong, NotFound) as error:
        wrong = error if isinstance(error, _Wrong) else _Wrong("gone")
        shown = _filled_in(form) if form.get("what") == "save-role" else None
        return await _page(request, wrong=wrong, form=shown, status=400)
    asked = {"user": form["of"]} if form.get("of") else {}
    raise web.HTTPSeeOther(f"{path_template(request, 'users-page')}?{urlencode({**asked, 'done': done})}")


async def _page(
    request: web.Request, *, wrong: _Wrong | None = None, form: RoleForm | None = None, status: int = 200
) -> web.Response:
    context, query, issued = request.app[CONTEXT], request.query, request.app[ISSUED_TOKENS]
    settings, user = context.settings(), query.get("user", "")[:256]
    configured = context.use_cases.configured()
    own = await issued.find(cookie_of(request, SESSION)) if cookie_of(request, SESSION) else None
    roles = _role_rows(settings, configured, request.app[ACCESS_CHANGES].roles)
    done = query.get("done", "")
    values: dict[str, Any] = {
        "act_url": path_template(request, "users-act"),
        "chosen": user,
        "done": done if done in _DONE and wrong is None else "",
        "emergencies": await request.app[EMERGENCIES].listed(),
        "form": form or _form_of(roles, query.get("role", "")),
        "given": request.app[ACCESS_CHANGES].given,
        "held": {each.name for each in roles},
        "labels": ", ".join(request.app[ACCESS_CHANGES].labels),
        "lists": _LISTS,
        "of_studies": OF_STUDIES,
        "own": own.id if own is not None else "",
        "page": path_template(request, "users-page"),
        "permissions": ("all", *PERMISSIONS),
        "roles": roles,
        "settings": settings,
        "shown": _SHOWN,
        "study_url": _study_url(request),
        "users": [(each, _signs_in_by(each, configured)) for each in settings.http.users],
        "wrong": wrong,
        "sessions": await _sessions(request, user),
        "tokens": await issued.listed("api", user),
        "links": await issued.listed("share", user),
    }
    answer = page_answer(request, "users.html", values)
    answer.set_status(status)
    return answer


async def _sessions(request: web.Request, user: str) -> list[IssuedToken]:
    """The sessions that have not ended, nor been idle for too long; those used last first."""
    idle, now = request.app[CONTEXT].settings().http.session_idle_minutes * 60, time.time()
    found = await request.app[ISSUED_TOKENS].listed("session", user)
    lasting = [each for each in found if not idle or now < max(each.used_at, each.created_at) + idle]
    return sorted(lasting, key=lambda each: -max(each.used_at, each.created_at))


def _signs_in_by(user: User, configured: Settings) -> list[str]:
    """The ways in which a user signs in, in `words/users.toml`."""
    before = user_of(user.name, configured)
    changed = before is not None and before.password != user.password
    ways = ["own_password" if changed else "password"] if user.password else []
    return [*ways, *(["certificate"] if user.certificate else [])]


def _role_rows(settings: Settings, configured: Settings, added: Mapping[str, Role]) -> list[RoleRow]:
    holders: dict[str, list[str]] = {}
    given = [(user.name, user.roles) for user in settings.http.users]
    given += [(name, modality.roles) for name, modality in settings.modalities.items()]
    given += list(settings.tokens.groups.items())
    if settings.tokens.roles:
        given.append((settings.tokens.issuer, settings.tokens.roles))
    for name, roles in given:
        for role in roles:
            holders.setdefault(role, []).append(name)
    return [
        RoleRow(
            name,
            role,
            "configuration" if name in configured.roles else "added" if name in added else "built_in",
            holders.get(name, []),
        )
        for name, role in {**BUILT_IN, **settings.roles}.items()
    ]


def _texts(role: Role) -> dict[str, str]:
    """The conditions of a role as texts, as they stand in the form."""
    texts = {name: ", ".join(getattr(role, name)) for name in _LISTS}
    return {**texts, "days": f"{role.days:g}" if role.days is not None else "", "tenant": role.tenant}


def _form_of(roles: Sequence[RoleRow], name: str) -> RoleForm:
    """The form with a role that may be changed, or an empty one."""
    found = next((each for each in roles if each.name == name and each.is_changeable), None)
    if found is None:
        return RoleForm()
    return RoleForm(found.name, found.role.permissions, _texts(found.role), is_new=False)


def _filled_in(form: Mapping[str, str]) -> RoleForm:
    """The form as somebody has filled it in."""
    conditions = {name: form.get(name, "") for name in (*_LISTS, "days", "tenant")}
    return RoleForm(form.get("name", ""), _chosen(form), conditions)


def _chosen(form: Mapping[str, str]) -> tuple[str, ...]:
    names = [name.removeprefix("permission.") for name in form if name.startswith("permission.")]
    return tuple([each for each in names if _is_permission(*each.partition(":"))])


def _is_permission(name: str, colon: str, level: str) -> bool:
    return name in ("all", *PERMISSIONS) and (not colon or level in LEVELS_OF_PERMISSION)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each for part in text.split(",") if (each := part.strip())))


def _study_url(request: web.Request) -> Callable[[str], str]:
    """The address of the page of a study by its public id; none where there is no such page."""
    has_page = "study-page" in request.app.router.named_resources()
    return lambda public_id: path_to(request, "study-page", id=public_id) if has_page else ""


async def _save_role(request: web.Request, form: Mapping[str, str]) -> str:
    name, permissions = form.get("name", "").strip(), _chosen(form)
    if not _NAME.fullmatch(name) and name not in request.app[ACCESS_CHANGES].roles:
        raise _Wrong("name")
    if name == "admin" or name in request.app[CONTEXT].use_cases.configured().roles:
        raise _Wrong("fixed")
    if not permissions:
        raise _Wrong("permissions")
    try:
        days = float(form["days"]) if form.get("days", "").strip() else None
    except ValueError:
        raise _Wrong("days") from None
    if days is not None and not 0 < days < 1e6:
        raise _Wrong("days")
    tenant = form.get("tenant", "").strip()
    if tenant and tenant not in request.app[CONTEXT].settings().tenants:
        raise _Wrong("tenant", tenant)
    lists: dict[str, Any] = {each: _listed(form.get(each, "")) for each in _LISTS}
    role = Role(permissions=permissions, tenant=tenant, days=days, **lists)
    if role.excessive:
        raise _Wrong("conditions", role.excessive[0])
    await _put(request, lambda roles: {**roles, name: role})
    return "role"


async def _remove_role(request: web.Request, form: Mapping[str, str]) -> str:
    name = form.get("name", "")

    def without(roles: Mapping[str, Role]) -> dict[str, Role]:
        if name not in roles:
            raise _Wrong("gone")
        return {each: role for each, role in roles.items() if each != name}

    await _put(request, without)
    return "removed"


async def _give_role(request: web.Request, form: Mapping[str, str]) -> str:
    name, role, changes = form.get("user", ""), form.get("role", ""), request.app[ACCESS_CHANGES]
    settings = request.app[CONTEXT].settings()
    gives, known = form["what"] == "give-role", {**BUILT_IN, **settings.roles}
    await changes.refresh()  # Another process may have changed them.
    given = changes.given(name)
    if user_of(name, settings) is None or role not in (known if gives else given):
        raise _Wrong("gone")
    await changes.give_roles(name, (*given, role) if gives else [each for each in given if each != role])
    log.warning(
        "user %s has %s %s the role %s", _user(request), "given" if gives else "taken from", name[:64], role[:64]
    )
    return "given" if gives else "taken"


async def _save_labels(request: web.Request, form: Mapping[str, str]) -> str:
    labels = _listed(form.get("labels", ""))
    if not all(map(LABEL_TEXT.fullmatch, labels)):
        raise _Wrong("labels")
    await _put(request, dict, labels)
    return "labels"


async def _put(
    request: web.Request,
    change: Callable[[Mapping[str, Role]], dict[str, Role]],
    labels: tuple[str, ...] | None = None,
) -> None:
    """Change the roles that were added, and the labels if any are given. Raises: _Wrong for too many."""
    changes, configured = request.app[ACCESS_CHANGES], request.app[CONTEXT].use_cases.configured().roles
    await changes.refresh()  # Another process may have changed them.
    roles, labels = change(changes.roles), changes.labels if labels is None else labels
    if len(roles) > MAX_ROLES or len(labels) > MAX_LABELS:
        raise _Wrong("too_many")
    await changes.put_roles(roles, labels, configured)
    log.warning("user %s has changed the roles: %s", _user(request), ", ".join(sorted(roles)))


async def _revoke(request: web.Request, form: Mapping[str, str]) -> str:
    kind = cast(TokenKind, {"revoke-token": "api", "revoke-link": "share"}.get(form["what"], "session"))
    await request.app[ISSUED_TOKENS].revoke(kind, form.get("id", ""))
    log.warning("user %s has revoked %s %s", _user(request), kind, form.get("id", "")[:40])
    return "ended" if kind == "session" else "revoked"


async def _end_sessions(request: web.Request, form: Mapping[str, str]) -> str:
    if not form.get("user"):
        raise _Wrong("gone")
    await request.app[ISSUED_TOKENS].end_sessions(form["user"])
    log.warning("user %s has ended the sessions of %s", _user(request), form["user"][:64])
    return "ended"


async def _end_emergency(request: web.Request, form: Mapping[str, str]) -> str:
    await request.app[EMERGENCIES].end_of(form.get("user", ""), by=_user(request))
    return "ended"


def _user(request: web.Request) -> str:
    return request.get(PRINCIPAL, ANYBODY).name or "(nobody)"


_ACTIONS: Final[Mapping[str, Callable[[web.Request, Mapping[str, str]], Awaitable[str]]]] = {
    "save-role": _save_role,
    "remove-role": _remove_role,
    "give-role": _give_role,
    "take-role": _give_role,
    "save-labels": _save_labels,
    "revoke-token": _revoke,
    "revoke-link": _revoke,
    "end-session": _revoke,
    "end-sessions": _end_sessions,
    "end-emergency": _end_emergency,
}
_QUERY: Final = (
    Parameter("user", "Name of a user whose sessions, tokens and links are listed", example="ann"),
    Parameter("role", "Name of a role that is to be changed", example="view"),
    Parameter("done", "What has been done", example="role"),
)

ROUTES = (
    Route("GET", "/ui/users", users, "admin-permissions", _QUERY, answers=("text/html",), name="users-page"),
    Route(
        *("POST", "/ui/users", act, "admin-permissions"),
        body=("application/x-www-form-urlencoded",),
        answers=("text/html",),
        name="users-act",
    ),
)
