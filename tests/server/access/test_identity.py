import hashlib
import json
import time
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from server.access.identity import Access, ApiKeys, CredentialsError, JwtTokens, Role, SharedToken
from server.access.new_key import new_key


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    lines = [f"{name} {role} {hashlib.sha256(name.encode()).hexdigest()}" for name, role in [("ann", "stream")]]
    lines.append(f"bob batch,stream {hashlib.sha256(b'bob').hexdigest()}  # the nightly job")
    file = tmp_path / "keys"
    file.write_text("# keys\n\n" + "\n".join(lines))
    return file


def test_keys_prove_names_and_roles(keys: Path):
    access = Access((ApiKeys(keys),))
    ann, bob = access.identify("Bearer ann"), access.identify("bearer bob")
    assert (ann.name, ann.may(Role.STREAM), ann.may(Role.BATCH)) == ("ann", True, False)
    assert (bob.name, bob.may(Role.STREAM), bob.may(Role.BATCH), bob.may(Role.ADMIN)) == ("bob", True, True, False)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer eve", "Basic ann", "ann"])
def test_everything_else_proves_nobody(keys: Path, header: str):
    with pytest.raises(CredentialsError) as error:
        Access((ApiKeys(keys), SharedToken("secret"))).identify(header)
    assert "eve" not in str(error.value)


def test_a_new_key_works(tmp_path: Path):
    key, digest = new_key()
    file = tmp_path / "keys"
    file.write_text(f"carl admin {digest}")
    assert Access((ApiKeys(file),)).identify(f"Bearer {key}").may(Role.BATCH)


@pytest.mark.parametrize("text", ["", "ann stream", "ann king " + "0" * 64, "ann stream 00", "ann stream zz"])
def test_a_file_that_can_not_be_understood_is_refused(tmp_path: Path, text: str):
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(ValueError, match="keys"):
        ApiKeys(file)


KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def tokens(tmp_path: Path) -> JwtTokens:
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key())) | {"kid": "1", "alg": "ES256"}
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [public]}))
    return JwtTokens(file, "https://issuer", "moodstream")


def signed(key=KEY, algorithm="ES256", kid="1", **changes) -> str:
    claims = {"sub": "ann", "roles": ["stream"], "iss": "https://issuer", "aud": "moodstream", "exp": time.time() + 60}
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(claims, key, algorithm, headers={"kid": kid})


def test_a_signed_token_proves_name_and_roles(tokens: JwtTokens):
    ann = Access((SharedToken("x"), tokens)).identify(f"Bearer {signed()}")
    assert (ann.name, ann.may(Role.STREAM), ann.may(Role.BATCH)) == ("ann", True, False)
    assert tokens.identify("no.token") is None


@pytest.mark.parametrize(
    "token",
    [
        signed(exp=time.time() - 60),
        signed(exp=None),
        signed(iss="https://other"),
        signed(aud="other"),
        signed(sub=None),
        signed(OTHER),
        signed(kid="2"),
        signed("a secret of more than thirty-two bytes", "HS256"),
        signed(roles=["king"]),
        signed(None, "none"),
        "a.b.c",
    ],
)
def test_a_wrong_token_proves_nobody(tokens: JwtTokens, token: str):
    with pytest.raises(CredentialsError):
        tokens.identify(token)


def test_nothing_set_up_lets_everybody_in():
    assert Access(()).identify("").may(Role.STREAM)
    assert Access((), trusts_certificates=True).identify("").name == "certificate"
