"""User identity negotiation (PS3.7 D.3.3.7): the identity of an association against the configured users.

Types 1 (user name), 2 (user name and passcode) and 5 (JSON Web Token). Kerberos tickets and SAML assertions are not
supported. Negotiation is in `scp/admission.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.access.principals import roles_of_groups
from gateway.access.tokens import TokenRefused, TokenVerifier
from gateway.access.users import Authenticator, BasicCredentials, TooManyFailures
from gateway.config import Settings
from gateway.ul.items import UserIdentity

_TYPES = {1: "name", 2: "password", 5: "token"}
"""User-Identity-Type (Table D.3-14) to its name in `dicom.user_identity_types`."""


class NotIdentified(Exception):
    """The identity is missing, of a type that is not accepted, or wrong. The text never repeats a passcode."""


@dataclass(frozen=True, slots=True)
class UserProof:
    """A verified user of DICOM."""

    name: str
    roles: tuple[str, ...] = ()
    """Names of the roles that a token gives, beside those of `http.users`."""


async def identify(
    identity: UserIdentity | None,
    settings: Settings,
    authenticator: Authenticator,
    tokens: TokenVerifier,
    peer: str,
) -> UserProof:
    """The verified user. Hashing is off the loop; failures of a peer are slowed down. Raises: NotIdentified."""
    types, users = settings.dicom.user_identity_types, settings.http.users
    if identity is None:
        raise NotIdentified("it offers no user identity, which dicom.user_identity requires")
    kind = _TYPES.get(identity.kind)
    if kind not in types:
        listed = ", ".join(types) or "none"
        raise NotIdentified(f"its user identity is of type {identity.kind}; dicom.user_identity_types allows {listed}")
    if kind == "token":
        try:
            proved = await tokens.verify(identity.primary, settings.tokens)
        except TokenRefused as error:
            raise NotIdentified(str(error)) from None
        return UserProof(proved.name, roles_of_groups(proved.groups, settings.tokens))
    name = identity.primary.decode("utf-8", "replace")
    if kind == "name":
        if name not in {user.name for user in users}:
            raise NotIdentified(f"user {name[:64]!r} is not among http.users")
        return UserProof(name)
    credentials = BasicCredentials(name, identity.secondary.decode("utf-8", "replace"))
    try:
        verified = await authenticator.verify(credentials, users, peer)
    except TooManyFailures:
        raise NotIdentified("too many wrong passwords are being slowed down") from None
    if verified is None:
        raise NotIdentified(f"wrong user name or password for {name[:64]!r}")
    return UserProof(verified)
