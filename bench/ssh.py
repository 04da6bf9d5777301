"""Rows for the console over SSH: how long commands wait for other sessions, and memory."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter

import asyncssh

from bench.measuring import CURSOR_ANSWER, CURSOR_QUERY, MEGABYTE, interleave
from bench.row import Figure, Row, Unit, at_most, below
from bench.workshop import Workshop, free_port, processes

_SESSIONS, _COMMANDS = 32, 100
_PAUSE = 0.1
"""Seconds from an answer to the next command of its session: a person types more slowly."""

_ADDRESS = "127.0.0.1"
_COMMAND, _ANSWER, _PROMPT = "hostname", "filer1\n", "filer1>"

Process = asyncssh.SSHClientProcess[str]


class _Server:
    """A running ``filer --ssh``, and how to log in."""

    def __init__(self, process_id: int, port: int, key: asyncssh.SSHKey) -> None:
        self._process_id = process_id
        self._port = port
        self._key = key

    @asynccontextmanager
    async def session(self, term_type: str | None = None) -> AsyncIterator[Process]:
        """Log in, and open a session for a script, or for a terminal."""
        login = asyncssh.connect(
            _ADDRESS,
            self._port,
            username="root",
            client_keys=[self._key],
            known_hosts=None,
            config=[],
        )
        async with login as connection, connection.create_process(term_type=term_type) as process:
            yield process

    def memory(self) -> float:
        """Return the memory in use, in MB."""
        _size, pages, *_ = Path(f"/proc/{self._process_id}/statm").read_text().split()
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


@contextmanager
def _serving(shop: Workshop) -> Iterator[_Server]:
    account, port = shop.account(), free_port()
    key = asyncssh.generate_private_key("ssh-ed25519")
    keys = account.root / "ssh" / "authorized_keys"
    keys.parent.mkdir(mode=0o700)
    keys.write_bytes(key.export_public_key())
    keys.chmod(0o600)
    command = [*account.filer(), "--ssh", f"{_ADDRESS}:{port}"]
    with processes([command], account.environment) as (process_id,):
        yield _Server(process_id, port, key)


def ssh(shop: Workshop) -> Iterator[Row]:
    """Measure commands of many sessions of one server, and the memory of a session."""
    sessions, commands = (2, 2) if shop.quick else (_SESSIONS, _COMMANDS)
    with _serving(shop) as server:
        slowest, alone = interleave(
            shop.times(3),
            lambda: max(asyncio.run(_together(server, sessions, commands))),
            lambda: median(asyncio.run(_together(server, 1, commands))),
        )
    yield Row(
        f"SSH: slowest of {commands} commands of {sessions} sessions",
        slowest,
        at_most(10),
        alone,
        "one session",
    )
    for who, term in (("script", None), ("person", "xterm")):
        with _serving(shop) as server:
            used = asyncio.run(_memory_of_session(server, sessions, term))
        what = f"SSH: memory for a session of a {who}"
        yield Row(what, Figure(used, Unit.MEGABYTES), below(2, Unit.MEGABYTES))


async def _together(server: _Server, sessions: int, commands: int) -> Sequence[float]:
    """Return how long each command took, in seconds; a session waits for each answer."""
    taken: list[float] = []

    async def work(process: Process, delay: float) -> None:
        await asyncio.sleep(delay)
        for _ in range(commands):
            begun = perf_counter()
            process.stdin.write(f"{_COMMAND}\n")
            if await process.stdout.readline() != _ANSWER:
                raise RuntimeError("a command failed")
            taken.append(perf_counter() - begun)
            await asyncio.sleep(_PAUSE)

    chance = random.Random(sessions)
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(server.session()) for _ in range(sessions)]
        await asyncio.gather(*(work(each, chance.uniform(0, _PAUSE)) for each in opened))
    return taken


async def _memory_of_session(server: _Server, sessions: int, term: str | None) -> float:
    """Return the MB that each of ``sessions`` adds to the first, when each has run a command."""
    async with AsyncExitStack() as stack:

        async def log_in() -> None:
            process = await stack.enter_async_context(server.session(term))
            if term is None:
                process.stdin.write(f"{_COMMAND}\n")
                await _read_until(process, _ANSWER)
                return
            await _read_until(process, CURSOR_QUERY)
            process.stdin.write(CURSOR_ANSWER)
            await _read_until(process, _PROMPT)
            process.stdin.write(f"{_COMMAND}\r")
            await _read_until(process, _PROMPT)

        await log_in()
        first = server.memory()
        for _ in range(sessions):
            await log_in()
        return (server.memory() - first) / sessions


async def _read_until(process: Process, text: str) -> None:
    found = ""
    while text not in found:
        read = await process.stdout.read(4096)
        if not read:
            raise RuntimeError("a session ended")
        found += read
