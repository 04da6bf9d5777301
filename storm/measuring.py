"""The filer's own client of a key server, with a stopwatch."""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from ssl import SSLContext
from typing import Any

from filer.keys.authentication_key import AuthenticationKey
from filer.keys.pair import KeyPair
from filer.kmip.client import KmipClient
from filer.kmip.failure import KeyServerFailure

Report = Callable[[str, str, float, str | None], None]
"""Is told of each operation: its name, the key server, the seconds, and why it failed or None."""


class MeasuredClient(KmipClient):
    """A `KmipClient` that reports how long each operation takes.

    It reads its certificate files when it is made: the filers of a site do this at the same time,
    each with a processor of its own, and a load generator would be late with everything else.
    """

    def __init__(self, *arguments: Any, report: Report, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._report = report
        self._context = super().context()

    def context(self) -> SSLContext:
        return self._context

    @contextmanager
    def _measured(self, operation: str) -> Iterator[None]:
        begun = time.monotonic()
        reason: str | None = "the load generator was stopped"
        try:
            yield
            reason = None
        except KeyServerFailure as failure:
            reason = failure.reason
            raise
        finally:
            self._report(operation, self.address, time.monotonic() - begun, reason)

    def probe(self) -> None:
        with self._measured("probe"):
            super().probe()

    def fetch(self, key_ids: Collection[str] = ()) -> list[KeyPair]:
        with self._measured("fetch"):
            return super().fetch(key_ids)

    def find(self, key_id: str) -> list[KeyPair]:
        with self._measured("find"):
            return super().find(key_id)

    def store(self, pair: KeyPair, parent_tag: str) -> str:
        with self._measured("store"):
            return super().store(pair, parent_tag)

    def take_back(self, key_id: str, key: AuthenticationKey, identifier: str | None = None) -> bool:
        with self._measured("take back"):
            return super().take_back(key_id, key, identifier)
