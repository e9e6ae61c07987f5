"""Identities, their roles, and the credentials that prove them."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

import jwt


class Role(StrEnum):
    """What an identity may do."""

    STREAM = "stream"
    """Live sessions."""
    BATCH = "batch"
    """Whole clips, and KServe."""
    ADMIN = "admin"
    """Everything, and what concerns the server itself."""


@dataclass(frozen=True)
class Identity:
    """Who makes a call. Limits are counted by name."""

    name: str
    roles: frozenset[Role]
    is_shared: bool = False
    """Many may be behind it, so that limits by identity make no sense."""

    def may(self, role: Role) -> bool:
        """Tell whether this identity has the role, or is an admin."""
        return role in self.roles or Role.ADMIN in self.roles


ANYBODY: Final = Identity("anybody", frozenset(Role), is_shared=True)
"""Who calls a server without authentication."""


class CredentialsError(Exception):
    """Credentials that prove nobody. The text says what is wrong with them, never what they are."""


class Authenticator(Protocol):
    """Knows one kind of credentials."""

    def identify(self, token: str) -> Identity | None:
        """Return whose bearer token it is; None where it is of another kind; raises CredentialsError."""
        ...


class SharedToken:
    """One token for everybody who may come in, with all roles."""

    def __init__(self, token: str) -> None:
        self._expected = hashlib.sha256(token.encode()).digest()

    def identify(self, token: str) -> Identity | None:
        """See `Authenticator`."""
        given = hashlib.sha256(token.encode()).digest()
        return (
            Identity("token", frozenset(Role), is_shared=True) if hmac.compare_digest(given, self._expected) else None
        )


class ApiKeys:
    """Keys of a file, of which only the SHA-256 is kept: `name role,role sha256-in-hex`, a line each, `#` for comments.

    Keys must be random (`python -m server.access.new_key`): a hash without salt protects no password.
    """

    def __init__(self, path: Path) -> None:
        """Read the file; raises ValueError where a line can't be understood."""
        self._keys: list[tuple[bytes, Identity]] = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if words := line.partition("#")[0].split():
                self._keys.append(_key(words, f"{path}:{number}"))
        if not self._keys:
            raise ValueError(f"{path} holds no key")

    def identify(self, token: str) -> Identity | None:
        """See `Authenticator`. All keys are compared, so that the time says nothing about them."""
        given = hashlib.sha256(token.encode()).digest()
        found = [identity for expected, identity in self._keys if hmac.compare_digest(given, expected)]
        return found[0] if found else None


def _key(words: list[str], where: str) -> tuple[bytes, Identity]:
    try:
        name, roles, digest = words
        identity = Identity(name, frozenset(Role(role) for role in roles.split(",")))
        key = bytes.fromhex(digest)
    except ValueError as error:
        raise ValueError(f"{where}: expected `name role,role sha256`: {error}") from None
    if len(key) != hashlib.sha256().digest_size:
        raise ValueError(f"{where}: expected 64 hexadecimal digits of SHA-256")
    return key, identity


class JwtTokens:
    """Signed tokens (RFC 7519, RS256 or ES256) of an issuer whose public keys lie in a JWKS file (RFC 7517).

    The claim `sub` is the name, `roles` a list of roles; `exp`, `iss` and `aud` are required and checked.
    """

    def __init__(self, jwks: Path, issuer: str, audience: str) -> None:
        """Read the key set; raises ValueError where it holds no usable key."""
        try:
            keys = jwt.PyJWKSet.from_dict(json.loads(jwks.read_text(encoding="utf-8"))).keys
        except (ValueError, KeyError, TypeError, jwt.PyJWTError) as error:
            raise ValueError(f"{jwks} is not a JWKS file: {error}") from None
        self._keys: Mapping[str | None, jwt.PyJWK] = {key.key_id: key for key in keys}
        self._issuer = issuer
        self._audience = audience

    def identify(self, token: str) -> Identity | None:
        """See `Authenticator`."""
        if token.count(".") != 2:
            return None
        try:
            key = self._keys.get(jwt.get_unverified_header(token).get("kid"))
            if key is None:
                raise CredentialsError("the token is signed with a key that is not known here")
            claims = jwt.decode(
                token,
                key.key,
                algorithms=["RS256", "ES256"],
                issuer=self._issuer,
                audience=self._audience,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
            roles = frozenset(Role(role) for role in claims.get("roles", ()))
        except jwt.ExpiredSignatureError:
            raise CredentialsError("the token has expired") from None
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise CredentialsError(f"the token is not valid: {type(error).__name__}") from None
        return Identity(str(claims["sub"]), roles)


@dataclass(frozen=True)
class Access:
    """All that a server knows about identities."""

    authenticators: tuple[Authenticator, ...]
    trusts_certificates: bool = False
    """Under mutual TLS nobody gets this far without a certificate: it is enough, for all roles."""

    @property
    def is_open(self) -> bool:
        """True when everybody is let in."""
        return not self.authenticators and not self.trusts_certificates

    def identify(self, authorization: str) -> Identity:
        """Return who sent the header `authorization`, `Bearer <token>`; raises CredentialsError."""
        if self.is_open:
            return ANYBODY
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer" and token:
            for authenticator in self.authenticators:
                if (identity := authenticator.identify(token.strip())) is not None:
                    return identity
            raise CredentialsError("the token is not known here")
        if self.trusts_certificates:
            return Identity("certificate", frozenset(Role), is_shared=True)
        raise CredentialsError("expected the metadata 'authorization: Bearer <token>'")
