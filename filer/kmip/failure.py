"""The reasons why a key server is not responding, as ``key_manager status`` shows them."""

from collections.abc import Sequence

from filer.host.errors import FilerError
from filer.keys.pair import KeyPair

CONNECTION_REFUSED = "connection refused"
UNREACHABLE = "unreachable"
CERTIFICATE_NOT_TRUSTED = "certificate not trusted"
CERTIFICATE_EXPIRED = "certificate expired"
CLIENT_CERTIFICATE_REJECTED = "client certificate rejected"
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


class ServerRefusal(KeyServerFailure):
    """A key server answered a request with a refusal."""


class IncompleteAnswer(KeyServerFailure):
    """A key server answered but left out key pairs that it holds."""


class PartlyRead(KeyServerFailure):
    """A key server returned ``pairs``, possibly none, but not all key pairs that it holds."""

    def __init__(self, failure: KeyServerFailure, pairs: Sequence[KeyPair]) -> None:
        super().__init__(failure.reason)
        self.answered = isinstance(failure, IncompleteAnswer)
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


def not_listed(label: str) -> IncompleteAnswer:
    """Return the failure of a server that holds an object but did not list it or its key."""
    return IncompleteAnswer(f"it left out {label}, which it holds")
