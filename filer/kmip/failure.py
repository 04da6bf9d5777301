"""Why a key server is not responding, in the words of ``key_manager status``."""

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
    """A key server did not do what it was asked; ``reason`` says why, in a few printable words."""

    answered = False
    """Whether the server did answer: to ask again would bring the same."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def about(self, address: str) -> str:
        """Return the sentence about the key server at ``address``, without its end."""
        return f"key server {address} is not responding: {self.reason}"


class IncompleteAnswer(KeyServerFailure):
    """A key server answered, and left out key pairs that it has."""


class PartlyRead(KeyServerFailure):
    """A key server showed ``pairs``, which may be none, but not all key pairs that it has."""

    def __init__(self, failure: KeyServerFailure, pairs: Sequence[KeyPair]) -> None:
        super().__init__(failure.reason)
        self.answered = isinstance(failure, IncompleteAnswer)
        self.pairs = pairs

    def about(self, address: str) -> str:
        """Return the sentence about the key server at ``address``, without its end."""
        return f"key server {address} has not shown all key pairs: {self.reason}"


def no_answer(seconds: float) -> KeyServerFailure:
    """Return the failure of a server that let its ``seconds`` pass."""
    return KeyServerFailure(f"no answer in {seconds:g} s")


def not_done(seconds: float) -> KeyServerFailure:
    """Return the failure of a server that answers in time, but takes too many answers for it."""
    return KeyServerFailure(f"not done in {seconds:g} s")


def interrupted() -> KeyServerFailure:
    """Return the failure of a server that had not finished when the user ended the wait."""
    return KeyServerFailure("interrupted")


def not_listed(label: str) -> IncompleteAnswer:
    """Return the failure of a server that has an object and did not show it, or not its key."""
    return IncompleteAnswer(f"it left out {label}, which it holds")
