"""Authentication by tokens, and the models and modalities that a token allows."""

import hashlib

import pytest

from embedwire_server.auth.own_tasks import OwnTasks
from embedwire_server.auth.tokens import Authenticator, Token, new_token
from embedwire_server.core.errors import PermissionDenied, Unauthenticated
from embedwire_server.core.inputs import EmbedRequest, Quota
from embedwire_server.core.models import MARENGO_27, MARENGO_30, Modality
from tests.support.embed_calls import an_input, texts


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


SEARCH = Token("search", (digest("s1"), digest("s2")))
INDEXER = Token("indexer", (digest("i"),))


def test_no_tokens_configured() -> None:
    """Without configured tokens every call is accepted and credentials are ignored."""
    assert Authenticator().authenticate(None) is None
    assert Authenticator().authenticate("Bearer whatever") is None


@pytest.mark.parametrize("shown", ["Bearer s1", "bearer s2", "BEARER  s1"])
def test_several_tokens_of_one_caller(shown: str) -> None:
    """Each of several tokens of a caller is accepted, and the scheme is case-insensitive."""
    assert Authenticator([INDEXER, SEARCH]).authenticate(shown) == SEARCH


@pytest.mark.parametrize(
    "shown", [None, "", "s1", "Bearer", "Bearer ", "Basic s1", "Bearer s 1", "Bearer s1\n", b"Bearer s1"]
)
def test_missing_token(shown: str | bytes | None) -> None:
    """A call without a token is refused with a message that explains how to send one."""
    with pytest.raises(Unauthenticated, match=r"^no bearer token: send the metadata"):
        Authenticator([SEARCH]).authenticate(shown)


@pytest.mark.parametrize("shown", ["Bearer s3", f"Bearer {digest('s1')}", "Bearer search"])
def test_rejected_credentials(shown: str) -> None:
    """A wrong token, a hash and a name are refused with the same answer."""
    with pytest.raises(Unauthenticated, match=r"^this server does not accept the bearer token$"):
        Authenticator([SEARCH]).authenticate(shown)


def test_replaced_tokens() -> None:
    """Tokens can be replaced at run time; an invalid configuration changes nothing."""
    access = Authenticator([SEARCH])
    access.replace([INDEXER])
    assert access.authenticate("Bearer i") == INDEXER
    with pytest.raises(Unauthenticated):
        access.authenticate("Bearer s1")
    with pytest.raises(ValueError, match="same name"):
        access.replace([SEARCH, SEARCH])
    assert access.authenticate("Bearer i") == INDEXER


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        pytest.param([Token("", (digest("a"),))], "name", id="no name"),
        pytest.param([Token("a b", (digest("a"),))], "name", id="name with a space"),
        pytest.param([Token("a", ())], "a: sha256", id="no hash"),
        pytest.param([Token("a", ("abc",))], "a: sha256", id="short hash"),
        pytest.param([Token("a", (digest("a").upper(),))], "a: sha256", id="hash in capitals"),
        pytest.param([Token("a", (digest("x"),)), Token("a", (digest("y"),))], "same name", id="name twice"),
        pytest.param([Token("a", (digest("x"),)), Token("b", (digest("x"),))], "same hash", id="hash twice"),
        pytest.param([Token("a", (digest("x"),), inputs_in_flight=0)], "a: limits", id="nothing in flight"),
        pytest.param([Token("a", (digest("x"),), inputs_per_minute=-1)], "a: limits", id="less than nothing"),
    ],
)
def test_invalid_configuration_of_tokens(tokens: list[Token], said: str) -> None:
    """An invalid configuration of tokens is refused with the name of the token."""
    with pytest.raises(ValueError, match=said):
        Authenticator(tokens)


def test_generated_token_is_accepted() -> None:
    """A generated token is accepted by its generated hash, and no two tokens are the same."""
    token, its_digest = new_token()
    owner = Token("new", (its_digest,))

    assert Authenticator([owner]).authenticate(f"Bearer {token}") == owner
    assert new_token() != (token, its_digest)
    assert token not in repr(owner)
    assert its_digest not in repr(owner)


def test_models_and_modalities() -> None:
    """A token can be restricted to models and modalities; the refusal names the field and what is allowed."""
    token = Token("search", (), models=("marengo3.0",), modalities=(Modality.TEXT,))
    token.check(EmbedRequest(MARENGO_30, texts(2)), OwnTasks())
    with pytest.raises(PermissionDenied, match=r"^model_name: .*search.*: marengo3.0$") as model:
        token.check(EmbedRequest(MARENGO_27, texts(1)), OwnTasks())
    with pytest.raises(PermissionDenied, match=r"^inputs\[1\]\.image: .*: text$"):
        token.check(EmbedRequest(MARENGO_30, (*texts(1), an_input(Modality.IMAGE))), OwnTasks())

    assert [violation.field for violation in model.value.violations] == ["model_name"]
    assert (token.sees(MARENGO_30), token.sees(MARENGO_27)) == (True, False)
    INDEXER.check(EmbedRequest(MARENGO_27, (*texts(1), an_input(Modality.IMAGE))), OwnTasks())


def test_shares() -> None:
    """Limits of a token are divided among workers, and unlimited ones stay unlimited."""
    token = Token("search", (), inputs_in_flight=8)
    assert token.divided(lambda amount: amount // 4).quota == Quota("search", 2, None)
