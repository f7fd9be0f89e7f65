"""Signing in at the issuer of `[tokens]`: OpenID Connect Core 1.0, authorization code flow (§3.1) with PKCE (RFC 7636).

Here are the three requests: to the issuer with the browser, from us with the code, and the one that ends the session
there. What is remembered in between (`Attempt`) goes into a cookie of the browser; sessions and pages are in `web/`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
from urllib.parse import quote_plus, urlencode

import msgspec

from gateway.access.tokens import TokenIdentity, TokenRefused, TokenVerifier, endpoint
from gateway.config import Settings
from gateway.errors import ConfigurationError
from gateway.remote.credentials import basic, read_secret, token_response
from gateway.remote.destination import DestinationUnavailable


class Attempt(msgspec.Struct, frozen=True, array_like=True):
    """One attempt to sign in at the issuer, known to the browser that began it."""

    state: str
    """Returned by the issuer: shows that the answer belongs to this attempt (RFC 6749 §10.12)."""
    nonce: str
    """In the ID token: shows that it was issued for this attempt."""
    verifier: str
    """Of PKCE: shows that the code is ours."""
    page: str
    """Path of the page to go to."""


class OpenIdSignIn:
    """Signs users in at the issuer. Holds nothing that must be closed."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier

    async def begin(self, settings: Settings, redirect_uri: str, page: str) -> tuple[str, Attempt]:
        """The address to which the browser goes, and the attempt. Raises: TokenRefused without an issuer in reach."""
        attempt = Attempt(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(32), page)
        metadata = await self._verifier.metadata(settings.tokens.issuer)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(attempt.verifier.encode()).digest()).rstrip(b"=").decode()
        fields = {
            "response_type": "code",
            "client_id": settings.oidc.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(settings.oidc.scopes),
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return _with_query(endpoint(metadata, "authorization_endpoint"), fields), attempt

    async def finish(
        self, settings: Settings, attempt: Attempt, redirect_uri: str, answer: dict[str, str]
    ) -> TokenIdentity:
        """The user who has signed in, by the fields with which the issuer sends the browser back.

        Raises: TokenRefused. The code is redeemed once; only what comes from the issuer's own endpoint counts.
        """
        if not hmac.compare_digest(answer.get("state", "").encode(), attempt.state.encode()):
            raise TokenRefused("the answer belongs to another attempt to sign in; try again")
        issuer = settings.tokens.issuer
        if answer.get("iss", issuer) != issuer:  # RFC 9207
            raise TokenRefused("the answer is of another issuer than tokens.issuer")
        if "code" not in answer:
            why = " ".join(answer[name][:200] for name in ("error", "error_description") if name in answer)
            raise TokenRefused(f"the issuer has not signed you in: {why or 'no code'}")
        token = await self._redeemed(settings, attempt, redirect_uri, answer["code"])
        # An ID token is for the client (Core 1.0 §3.1.3.7), an access token for the gateway as a service.
        tokens = msgspec.structs.replace(settings.tokens, audience=settings.oidc.client_id)
        identity = await self._verifier.verify(token.encode("utf-8", "surrogatepass"), tokens)
        if not hmac.compare_digest(identity.nonce.encode("utf-8", "surrogatepass"), attempt.nonce.encode()):
            raise TokenRefused("the ID token was issued for another attempt to sign in")
        return identity

    async def sign_out_address(self, settings: Settings, back: str) -> str:
        """The address at which the browser ends the session at the issuer (RP-Initiated Logout 1.0); '' without one."""
        try:
            metadata = await self._verifier.metadata(settings.tokens.issuer)
            url = endpoint(metadata, "end_session_endpoint")
        except TokenRefused:
            return ""
        return _with_query(url, {"client_id": settings.oidc.client_id, "post_logout_redirect_uri": back})

    async def _redeemed(self, settings: Settings, attempt: Attempt, redirect_uri: str, code: str) -> str:
        """The ID token for a code (Core 1.0 §3.1.3)."""
        import aiohttp

        oidc = settings.oidc
        url = endpoint(await self._verifier.metadata(settings.tokens.issuer), "token_endpoint")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": oidc.client_id,
            "code_verifier": attempt.verifier,
        }
        headers = {}
        try:
            if oidc.client_secret_file:
                secret = await asyncio.to_thread(read_secret, "oidc.client_secret_file", oidc.client_secret_file)
                headers["Authorization"] = basic(quote_plus(oidc.client_id), quote_plus(secret))
            async with aiohttp.ClientSession() as session:
                fields = await token_response(session, f"no token from {url}", url, form, headers)
        except (ConfigurationError, DestinationUnavailable) as error:
            raise TokenRefused(str(error)) from None
        token = fields.get("id_token")
        if not isinstance(token, str):
            raise TokenRefused("the issuer answers without an ID token; is `openid` among oidc.scopes?")
        return token


def _with_query(url: str, fields: dict[str, str]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(fields)}"
