"""Whatever the test key server confirms is on the medium: a power loss never removes a key.

Run as a program, this module is the key server, with a client, that strace watches.
"""

import os
import random
import shutil
import sqlite3
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from filer.keyserver.engine import Engine
from filer.keyserver.server import KeyServer
from pytest_filer.key_servers import ADDRESSES
from tests.conftest import Count
from tests.kit import points
from tests.kit.crash_model import strace
from tests.kit.crash_model.states import State, crash_points, crash_states
from tests.kit.crash_model.trace import Seen
from tests.kit.pairs import new_pair, put
from tests.kit.paths import CHECKOUT

KEYS = 3
SECRET = "Qx7%secret-of-the-durability-test"
SAMPLE, MOST = 30, 1000
"""The number of tried states, apart from those right after an answer."""

MOMENTS = 10
"""The losses of power whose states are computed, unless all are."""

EXTRA = 3
"""``PRAGMA synchronous`` answers this if EXTRA is set."""


def register_keys(directory: Path) -> None:
    """Write one byte for each key that the key server has confirmed."""
    with KeyServer(directory, ADDRESSES[0], port=0) as server:
        for number in range(KEYS):
            put(server, new_pair(key=f"{SECRET}{number}"))
            os.write(1, b"+")


def test_a_key_that_was_confirmed_survives_a_loss_of_power(
    authority: Path, tmp_path: Path, count: Count
) -> None:
    if not strace.available():
        pytest.skip("no program can be traced here")
    directory = shutil.copytree(authority, tmp_path / "keys")
    server = KeyServer(directory, ADDRESSES[0])
    server.store.unlink()
    server.started.unlink(missing_ok=True)
    program = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.keyserver.test_store_durability",
        str(directory),
    ]
    before, events = strace.recorded(program, directory, tmp_path / "log", CHECKOUT)
    answers = [at for at, event in enumerate(events) if isinstance(event, Seen)]
    losses = crash_points(events)
    chosen = points.some(losses, MOMENTS)
    states = _distinct(crash_states(before, events, chosen))
    tried = random.Random(0).sample(
        [*states.items()], min(MOST if points.ALL else SAMPLE, len(states))
    )
    # A confirmed change that is not durable is lost right after the answer, if at all.
    answered = _distinct(crash_states(before, events, [at + 1 for at in answers]))
    assert {confirmed for _, confirmed in answered} == set(range(1, KEYS + 1))
    tried += answered.items()
    lost: list[str] = []
    for (_, confirmed), state in tried:
        root = tmp_path / "state"
        state.tree.store(root)
        if loss := _loss(KeyServer(root, ADDRESSES[0]), confirmed):
            lost.append(f"{loss}: {state.point}: {state.moment}: {state.text[:500]}")
        shutil.rmtree(root)
    count("power lost: key server", len(chosen) + len(answers), len(losses) + len(answers))
    assert not lost, "\n".join([f"{len(lost)} of {len(tried)} states lose a key", *lost[:5]])


def _distinct(states: Iterable[State]) -> dict[tuple[bytes, int], State]:
    """Return the states that differ in the store or in the number of confirmed keys."""
    found: dict[tuple[bytes, int], State] = {}
    for state in states:
        confirmed = len(state.outside) if isinstance(state.outside, tuple) else 0
        found.setdefault((state.tree.digest(), confirmed), state)
    return found


def _loss(server: KeyServer, confirmed: int) -> str:
    """Return what is wrong with a store after a power loss, or ""."""
    if not server.store.exists():
        return "no store" if confirmed or server.started.exists() else ""
    with closing(sqlite3.connect(server.store)) as store:
        store.execute("PRAGMA synchronous = OFF")  # it is discarded
        (whole,) = store.execute("PRAGMA integrity_check").fetchone()
        tables = store.execute("SELECT name FROM sqlite_master").fetchall()
        values = store.execute("SELECT value FROM managed_objects").fetchall() if tables else []
    if server.started.exists() and not server.store.stat().st_size:
        return "an empty store, which is refused"
    expected = {f"{SECRET}{number}".encode() for number in range(confirmed)}
    if whole != "ok" or not expected <= {bytes(value) for (value,) in values}:
        return f"{len(values)} of {confirmed} keys, {whole}"
    return ""


def test_each_connection_to_the_store_commits_durably(authority: Path, tmp_path: Path) -> None:
    from sqlalchemy import event

    seen: list[int] = []

    def look(connection: Any, *_rest: object) -> None:
        seen.extend(connection.execute("PRAGMA synchronous").fetchone())

    class Watched(KeyServer):
        def _engine(self) -> Engine:
            engine = super()._engine()
            event.listen(engine._data_store, "checkout", look)
            return engine

    directory = shutil.copytree(authority, tmp_path / "keys")
    with Watched(directory, ADDRESSES[0], port=0) as server:
        for number in range(2):
            put(server, new_pair(key=f"{SECRET}{number}"))
    assert set(seen) == {EXTRA}


if __name__ == "__main__":
    register_keys(Path(sys.argv[1]))
