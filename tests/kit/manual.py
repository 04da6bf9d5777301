"""Fixtures and expected texts for the tests of the manual pages.

``build, house = manual.build, manual.house`` gives a test module the two fixtures.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.conftest import StartKeyServers
from tests.kit.house import House

NO_KEY_SERVERS = "No key servers are registered.\n"
GENERATED = "New passphrase generated.\n"
ACCEPTED = "New passphrase accepted.\n"
ENTER = "Please enter a new passphrase: \n"
REENTER = "Please reenter the new passphrase: \n"
CLIENT_FILES = (
    "Found client certificate file client.pem.\n"
    "Registration successful for client.pem.\n"
    "Found client private key file client_private.pem.\n"
    "Registration successful for client_private.pem.\n"
)


class Build(Protocol):
    """The fixture ``build``."""

    def __call__(self, servers: int = 2, **set_up: Any) -> House:
        """Build a filer as `House.build` does, beside ``servers`` new key servers."""


@pytest.fixture
def build(tmp_path: Path, key_servers: StartKeyServers) -> Iterator[Build]:
    with ExitStack() as stack:

        def build_one(servers: int = 2, **set_up: Any) -> House:
            running = key_servers(servers)
            house = House.build(tmp_path / "root", running, **{"timeout": 20.0} | set_up)
            return stack.enter_context(house)

        yield build_one


@pytest.fixture
def house(build: Build) -> House:
    """A filer with two key servers, their certificates installed, none registered."""
    return build()


def registering(*addresses: str, count: int | None = None) -> str:
    """Return the messages of a registration; ``count``: how many CA files it registers."""
    files = "".join(
        f"Found client CA certificate file {address}_CA.pem.\n"
        f"Registration successful for {address}_CA.pem.\n"
        for address in addresses
    )
    number = len(addresses) if count is None else count
    return f"Registering {number} key servers...\n{files}Registration complete.\n"


def query_line(tag: str, key_id: str, mark: str = " ") -> str:
    """Return a line of ``key_manager query``."""
    return f"{tag:<31} {mark}{key_id}\n"


def query_block(address: str, *lines: str) -> str:
    """Return the block of ``key_manager query`` for one key server."""
    head = f"Key server {address} reports {len(lines)} keys.\n"
    if not lines:
        return head
    return (
        f"{head}\n"
        "Key tag                          Key ID\n"
        "-------                          ------\n"
        f"{''.join(lines)}"
    )


HINT = 'Use "key_manager restore" to load the key IDs marked "*" into the internal keytable.\n'


def created(how: str, key_id: str, tag: str, *addresses: str) -> str:
    """Return the block about a new key pair."""
    return (
        f"{how}Key ID: {key_id}\nKey tag: {tag}\n"
        "Passphrase, key ID, and key tag synchronized with the following key server(s):\n"
        + "".join(f"    {address}\n" for address in addresses)
    )


def completed(
    verb: str, disks: int, *, failures: int = 0, unknown: int = 0, authentication: int = 0
) -> str:
    """Return the last line of an operation on ``disks`` disks."""
    return (
        f"Completed {verb} on {disks} disks: {disks - failures} successes, {failures} failures, "
        f"including {unknown} unknown key and {authentication} authentication failures.\n"
    )
