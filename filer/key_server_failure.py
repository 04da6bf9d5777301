"""Why a key server is not responding, in the words of ``key_manager status``."""

from filer.errors import FilerError

CONNECTION_REFUSED = "connection refused"
UNREACHABLE = "unreachable"
CERTIFICATE_NOT_TRUSTED = "certificate not trusted"
CERTIFICATE_EXPIRED = "certificate expired"
CLIENT_CERTIFICATE_REJECTED = "client certificate rejected"
NOT_A_KMIP_SERVER = "not a KMIP server"


class KeyServerFailure(FilerError):
    """A key server did not do what it was asked; ``reason`` says why, in a few printable words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def no_answer(seconds: float) -> KeyServerFailure:
    """Return the failure of a server that let its ``seconds`` pass."""
    return KeyServerFailure(f"no answer in {seconds:g} s")
