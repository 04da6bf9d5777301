"""The filers of a storm: their client certificates and key tags."""

import os
import re
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from threading import Lock

from filer.kmip.client import Credentials
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from filer.storm.plan import PROGRAM
from filer.throw_away.certificates import Authority

ONE_FOR_ALL = "all"
"""The owner of all key pairs if the filers share one client certificate."""

_LIFETIME = timedelta(days=1)


def is_owner(name: str) -> bool:
    """Return whether ``name`` is one that `Fleet.owner` returns."""
    return name == ONE_FOR_ALL or re.fullmatch(f"{PROGRAM}-[0-9]+", name) is not None


class Fleet:
    """The filers, by number.

    Each has a client certificate of its own, which the authority in the directory ``certs``
    issues, or, if ``tagged``, all have the one in ``certs``.  ``scratch`` is a private directory.
    """

    def __init__(self, certs: Path, scratch: Path, *, tagged: bool) -> None:
        self.tagged = tagged
        self._certs = certs
        self._scratch = scratch
        self._issuing = Lock()

    def owner(self, number: int) -> str:
        """Return the name of the client certificate of a filer."""
        return ONE_FOR_ALL if self.tagged else f"{PROGRAM}-{number}"

    @staticmethod
    def tag(number: int) -> str:
        """Return the key tag of a filer."""
        return f"{PROGRAM}-{number}"

    def credentials(self, owner: str, address: str) -> Credentials:
        """Return the files of ``owner`` for a key server.  Raises NoAuthority."""
        ca = self._certs / ca_name(address)
        if owner == ONE_FOR_ALL:
            return Credentials(self._certs / CLIENT, self._certs / CLIENT_PRIVATE, ca)
        own = self._issued(owner)
        return Credentials(own, own, ca)

    def _issued(self, owner: str) -> Path:
        path = self._scratch / f"{owner}.pem"
        with self._issuing:
            if not path.exists():
                # Not synced: after a crash it is issued again.
                with open(path, "xb", opener=_private) as file:
                    file.write(self._authority.issue(owner, _LIFETIME))
        return path

    @cached_property
    def _authority(self) -> Authority:
        return Authority.of(self._certs)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
