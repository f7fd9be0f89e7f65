"""User identity negotiation (PS3.7 D.3.3.7): who says to sit at the other end, against the configured users.

Types 1 (user name) and 2 (user name and passcode). Kerberos tickets, SAML assertions and tokens are not understood.
How it came and what is answered is `scp/admission.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.access.users import Authenticator, Credentials, TooManyFailures
from gateway.config import User
from gateway.ul.items import UserIdentity

_TYPES = {1: "name", 2: "password"}
"""User-Identity-Type (Table D.3-14) to what `dicom.user_identity_types` calls it."""


class NotIdentified(Exception):
    """The identity is missing, of a type that is not taken, or wrong. The text never repeats a passcode."""


async def identify(
    identity: UserIdentity | None, types: Sequence[str], users: Sequence[User], authenticator: Authenticator, peer: str
) -> str:
    """The user's name, or NotIdentified. Hashing is off the loop; failures from one `peer` are slowed down."""
    if identity is None:
        raise NotIdentified("it offers no user identity, which dicom.user_identity requires")
    kind = _TYPES.get(identity.kind)
    if kind not in types:
        listed = ", ".join(types) or "none"
        raise NotIdentified(f"its user identity is of type {identity.kind}; dicom.user_identity_types takes {listed}")
    name = identity.primary.decode("utf-8", "replace")
    if kind == "name":
        if name not in {user.name for user in users}:
            raise NotIdentified(f"user {name[:64]!r} is not among http.users")
        return name
    credentials = Credentials(name, identity.secondary.decode("utf-8", "replace"))
    try:
        proven = await authenticator.verify(credentials, users, peer)
    except TooManyFailures:
        raise NotIdentified("too many wrong passwords are being slowed down") from None
    if proven is None:
        raise NotIdentified(f"wrong user name or password for {name[:64]!r}")
    return proven
