"""The structure of the sections on who signs in: users, tokens of an issuer, OpenID Connect, emergency access."""

from __future__ import annotations

from gateway.config.base import Section


class User(Section, frozen=True):
    name: str
    password: str = ""
    """Hash printed by `dicom-gateway hash-password`; never the password itself. Empty: no password proves this user."""
    roles: tuple[str, ...] = ("admin",)
    """What the user may do: names of `[roles]`, or `admin`, `view`, `store`, `route`, `manage`, `audit`."""
    certificate: str = ""
    """Name (common name or subject alternative name) in the client certificate that proves this user; needs
    `http.client_ca`."""


class Tokens(Section, frozen=True):
    """JSON Web Tokens (RFC 7519) as proof of a user's identity, over DICOM and as bearer tokens over HTTP."""

    issuer: str = ""
    """Required `iss`. Set, HTTP needs a sign-in, unless `http.allow_anonymous` is set and no user is named."""
    audience: str = ""
    """Required `aud`: the gateway."""
    keys: str = ""
    """Public keys of the issuer: a file (JWK Set or PEM), read again when it changes, or an https URL of a JWK Set.
    Empty: those that the issuer's `/.well-known/openid-configuration` names."""
    keys_seconds: float = 60.0
    """Seconds for which keys from a URL are used without another look: for so long a key counts that the issuer has
    withdrawn. While the issuer does not answer, its last keys count for a day."""
    user_claim: str = "sub"
    """Claim that names the user."""
    users: tuple[str, ...] = ()
    """Users that are accepted; none: everybody with a token of the issuer for this audience."""
    roles: tuple[str, ...] = ()
    """Roles of everybody with a token. Users in `[[http.users]]` with the name in the token have the roles there too.
    """
    roles_claim: str = ""
    """Claim that lists the groups of the user, `groups`, or within another, `realm_access.roles`; empty: none."""
    groups: dict[str, tuple[str, ...]] = {}
    """The roles of each group, by its name or identifier; without any, a group has the role of its own name."""

    @property
    def gives_roles(self) -> bool:
        """Whether what a token says decides about roles."""
        return bool(self.roles or self.roles_claim)


class Oidc(Section, frozen=True):
    """Signing in on the pages at the issuer of `[tokens]` (OpenID Connect, authorization code with PKCE)."""

    client_id: str = ""
    """The gateway's name at the issuer; empty: no such sign-in. To be entered there: the redirect URI
    `https://HOST/ui/sign-in/return`, and `https://HOST/ui/signed-out` for after signing out."""
    client_secret_file: str = ""
    """File with the secret of a confidential client; empty: a public one."""
    scopes: tuple[str, ...] = ("openid", "profile")
    """Scopes of the request; some issuers give groups only for one of their own."""


class BreakGlass(Section, frozen=True):
    """Emergency access to all studies, for users with the permission `break-glass`."""

    minutes: float = 60.0
    """Minutes after which it ends."""
    webhook: str = ""
    """URL to which each use is sent at once, as JSON by POST, and again until it answers; empty: none."""
