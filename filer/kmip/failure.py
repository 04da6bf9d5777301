"""The reasons why a key server is not responding, as ``key_manager status`` shows them."""

from collections.abc import Iterable, Sequence

from filer.host.errors import FilerError
from filer.host.text import printable
from filer.keys.pair import KeyPair

CONNECTION_REFUSED = "connection refused"
UNREACHABLE = "unreachable"
CERTIFICATE_NOT_TRUSTED = "certificate not trusted"
CERTIFICATE_EXPIRED = "certificate expired"
CLIENT_CERTIFICATE_REJECTED = "client certificate rejected"
NO_TLS_IN_COMMON = "no TLS version or cipher in common"
NOT_A_KMIP_SERVER = "not a KMIP server"


class KeyServerFailure(FilerError):
    """A request to a key server failed; ``reason`` says why, in a few printable words."""

    answered = False
    """Whether the server did answer, so that a retry would give the same result."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def about(self, address: str) -> str:
        """Return a sentence about the key server at ``address``, without a full stop."""
        return f"key server {address} is not responding: {self.reason}"


class ConnectionClosed(KeyServerFailure):
    """A key server closed the connection instead of answering a request."""

    def __init__(self) -> None:
        super().__init__("it closed the connection instead of answering")


class ServerRefusal(KeyServerFailure):
    """A key server answered a request with a refusal."""

    answered = True

    def about(self, address: str) -> str:
        """Return a sentence about the key server at ``address``, without a full stop."""
        return f"key server {address} is responding, but cannot be used: {self.reason}"


class IncompleteAnswer(KeyServerFailure):
    """A key server answered but left out key pairs that it holds."""

    answered = True


class PartlyRead(KeyServerFailure):
    """A key server returned ``pairs``, possibly none, but not all key pairs that it holds."""

    def __init__(self, failure: KeyServerFailure, pairs: Sequence[KeyPair]) -> None:
        super().__init__(failure.reason)
        self.answered = failure.answered
        self.pairs = pairs

    def about(self, address: str) -> str:
        """Return a sentence about the key server at ``address``, without a full stop."""
        return f"key server {address} has not shown all key pairs: {self.reason}"


def no_answer(seconds: float) -> KeyServerFailure:
    """Return the failure of a server that did not answer within ``seconds``."""
    return KeyServerFailure(f"no answer in {seconds:g} s")


def not_done(seconds: float) -> KeyServerFailure:
    """Return the failure of a server that answered each request in time, but needed too many."""
    return KeyServerFailure(f"not done in {seconds:g} s")


def interrupted() -> KeyServerFailure:
    """Return the failure of a server that had not finished when the user stopped the wait."""
    return KeyServerFailure("interrupted")


def speaks_only(versions: Iterable[tuple[int, int]]) -> ServerRefusal:
    """Return the failure of a server that speaks ``versions`` of KMIP, none of which we speak."""
    shown = " and ".join(f"{major}.{minor}" for major, minor in sorted(set(versions))[:4])
    return ServerRefusal(f"it speaks KMIP {shown} only")


def unauthenticated(reason: str, user: str | None) -> ServerRefusal:
    """Return the failure of a server that does not accept us, or our ``user`` and password."""
    if user is None:
        return ServerRefusal(
            f"{reason}; if it requires a password, set user and password_file in filer.toml, [kmip]"
        )
    return ServerRefusal(
        f'{reason}; check user "{printable(user)}" and password_file in filer.toml, [kmip]'
    )


def not_listed(label: str) -> IncompleteAnswer:
    """Return the failure of a server that holds an object but did not list it or its key."""
    return IncompleteAnswer(f"it left out {label}, which it holds")
