"""The pytest plug-in: the fixture ``filer``, for tests of runbooks (docs/TESTING.md).

pytest loads this module in every project of the environment, so it imports nothing slow.  The
package imports nothing of `filer` in the process of the tests, because the tests' own modules may
have any name: the filer and the key servers run as separate programs.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import pytest

if TYPE_CHECKING:
    from pytest_filer.console import Account, Terminal
    from pytest_filer.key_servers import KeyServer, KeyServerProcess


class _Wanted(NamedTuple):
    """The arguments of the marker.

    ``settings`` are tables of filer.toml; ``options`` are command-line options of the program.
    """

    key_servers: int = 2
    disks: int = 12
    settings: Mapping[str, Mapping[str, Any]] = {}
    options: Sequence[str] = ()
    rows: int = 24
    columns: int = 80


_ARGUMENTS = ", ".join(f"{name}={value!r}" for name, value in _Wanted._field_defaults.items())


class FilerUnderTest:
    """A filer with its own root and home directory, and running key servers.

    ``key_servers`` have ``address``, ``port``, ``stop()`` and ``start()``; their certificates are
    installed, but the servers are not registered.  Only one filer at a time can run on a root: call
    ``filer.console.leave()`` before ``run``.
    """

    def __init__(
        self,
        account: "Account",
        key_servers: "Sequence[KeyServer]",
        stack: ExitStack,
        options: Sequence[str],
        size: tuple[int, int],
    ) -> None:
        self.key_servers = key_servers
        self._account = account
        self._stack = stack
        self._options = options
        self._size = size
        self._console: Terminal | None = None

    @property
    def root(self) -> Path:
        """The root of the filer."""
        return self._account.root

    @property
    def home(self) -> Path:
        """The home and working directory of the console's user."""
        return self._account.home

    def run(self, *lines: str, status: int = 0) -> str:
        """Power the filer on, run ``lines``, and return its output, error messages included.

        Answers to questions are lines after the command.  Fails the test unless the exit status is
        ``status``.
        """
        __tracebackhide__ = True
        ended = self._account.run(
            *self._options, input="".join(f"{line}\n" for line in lines), together=True
        )
        if ended.status != status:
            pytest.fail(f"filer ended with status {ended.status}, not {status}:\n{ended.out}")
        return ended.out

    @property
    def console(self) -> "Terminal":
        """A terminal at the console's prompt; the filer is booted at the first access.

        ``enter(line)`` types a line and returns what is printed before the next prompt or question,
        which is then in ``prompt``; ``leave()`` cancels an open question and powers off; ``child``
        is the ``pexpect.spawn``.
        """
        if self._console is None or not self._console.child.isalive():
            rows, columns = self._size
            terminal = self._account.terminal(*self._options, rows=rows, columns=columns)
            self._console = self._stack.enter_context(terminal).booted()
        return self._console


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", f"filer({_ARGUMENTS}): settings of the fixture filer")


@pytest.fixture(scope="session")
def _filer_key_servers(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[KeyServerProcess]":
    """Start the process of the key servers, with all certificates."""
    from pytest_filer.key_servers import KeyServerFailed, KeyServerProcess

    try:
        process = KeyServerProcess(tmp_path_factory.mktemp("filer-authority"))
    except KeyServerFailed as failure:
        _fail(failure)
    yield process
    process.close()


@pytest.fixture
def filer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FilerUnderTest]:
    """A filer in a temporary root, with running key servers and a console.

    ``@pytest.mark.filer(key_servers=3, disks=24)`` changes its settings.
    """
    wanted = _wanted(request.node.get_closest_marker("filer"))
    from pytest_filer.key_servers import KeyServerFailed

    with ExitStack() as stack:
        try:
            given = _filer(stack, tmp_path, request, wanted)
        except KeyServerFailed as failure:
            _fail(failure)
        yield given


def _wanted(marker: pytest.Mark | None) -> _Wanted:
    if marker is None:
        return _Wanted()
    unknown = [*map(repr, marker.args), *(marker.kwargs.keys() - _Wanted._fields)]
    if unknown:
        _refuse(f"unexpected {', '.join(sorted(unknown))}; its arguments are {_ARGUMENTS}")
    return _Wanted(**marker.kwargs)


def _refuse(reason: str) -> NoReturn:
    pytest.fail(f"pytest.mark.filer: {reason}", pytrace=False)


def _fail(problem: Exception) -> NoReturn:
    pytest.fail(f"the fixture filer: {problem}", pytrace=False)


def _filer(
    stack: ExitStack, directory: Path, request: pytest.FixtureRequest, wanted: _Wanted
) -> FilerUnderTest:
    import tomli_w

    from pytest_filer.key_servers import ADDRESSES

    try:
        from pytest_filer.console import Account
    except ImportError as missing:
        if missing.name != "pexpect":
            raise
        pytest.fail("the fixture filer needs pexpect: pip install pexpect", pytrace=False)
    if wanted.key_servers not in range(len(ADDRESSES) + 1):
        _refuse(f"key_servers must be 0 to {len(ADDRESSES)}, not {wanted.key_servers!r}")
    servers: list[KeyServer] = []
    if wanted.key_servers:  # without key servers, no loopback address is needed
        process = request.getfixturevalue("_filer_key_servers")
        files = directory / "key servers"
        servers = stack.enter_context(process.key_servers(files, wanted.key_servers))
    tables: dict[str, dict[str, Any]] = {"shelf": {"disks": wanted.disks, "disk_size": "1 MiB"}}
    if servers:
        tables["kmip"] = {"port": servers[0].port}
    for name, table in wanted.settings.items():
        tables.setdefault(name, {}).update(table)
    account = Account(directory / "filer", tomli_w.dumps(tables))
    if servers:
        process.install_certificates(files, account.root)
    size = wanted.rows, wanted.columns
    return FilerUnderTest(account, servers, stack, wanted.options, size)
