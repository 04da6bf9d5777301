"""The pytest plug-in: the fixtures ``filer`` and ``filer_pair``, for tests of runbooks.

docs/TESTING.md is their manual.

pytest loads this module in every project of the environment, so it imports nothing slow.  The
package imports nothing of `filer` in the process of the tests, because the tests' own modules may
have any name: the filer and the key servers run as separate programs.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from signal import SIGKILL
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

import pytest

from pytest_filer.transcript import Transcript, possible_passphrases

if TYPE_CHECKING:
    from pytest_filer.console import Account, Terminal
    from pytest_filer.disk import Disk
    from pytest_filer.key_servers import KeyServer, KeyServerProcess
    from pytest_filer.ssh import Ssh

_Made = TypeVar("_Made")
_TRANSCRIPT = pytest.StashKey[Transcript]()


class _Wanted(NamedTuple):
    """The arguments of the marker.

    ``settings`` are tables of filer.toml; ``options`` are command-line options of the program.
    ``timeout`` is in seconds, for one `FilerUnderTest.run` or one output of a console.
    """

    key_servers: int = 2
    disks: int = 12
    settings: Mapping[str, Mapping[str, Any]] = {}
    options: Sequence[str] = ()
    rows: int = 24
    columns: int = 80
    timeout: float = 60


_ARGUMENTS = ", ".join(f"{name}={value!r}" for name, value in _Wanted._field_defaults.items())


class FilerUnderTest:
    """A filer with its own root and home directory, and running key servers.

    ``key_servers`` have ``address``, ``port``, ``stop()``, ``start()``, ``expire()`` and
    ``renew()``; their certificates are installed, but the servers are not registered.  Only one
    filer at a time can run on a root: call ``filer.console.leave()`` before ``run`` or ``ssh``.
    """

    def __init__(
        self,
        account: "Account",
        key_servers: "Sequence[KeyServer]",
        *,
        name: str,
        process: "Callable[[], KeyServerProcess]",
        stack: ExitStack,
        transcript: Transcript,
        wanted: _Wanted,
    ) -> None:
        self.key_servers = key_servers
        self._account = account
        self._name = name
        self._process = process
        self._stack = stack
        self._transcript = transcript
        self._wanted = wanted
        self._console: Terminal | None = None
        self._ssh: Ssh | None = None

    @property
    def root(self) -> Path:
        """The root of the filer."""
        return self._account.root

    @property
    def home(self) -> Path:
        """The home and working directory of the console's user."""
        return self._account.home

    def run(self, *lines: str, status: int = 0, timeout: float | None = None) -> str:
        """Power the filer on, run ``lines``, and return its output, error messages included.

        Answers to questions are lines after the command.  Fails the test unless the exit status is
        ``status``, or if it takes longer than ``timeout`` seconds.
        """
        __tracebackhide__ = True
        from pytest_filer.console import with_output

        seconds = self._wanted.timeout if timeout is None else timeout
        try:
            ended = self._account.run(
                *self._wanted.options,
                input="".join(f"{line}\n" for line in lines),
                together=True,
                timeout=seconds,
            )
        except TimeoutExpired as stopped:
            output = (stopped.output or b"").decode(errors="replace")
            problem = f"filer did not end within {seconds:g} s"
        else:
            output = ended.out
            if ended.status == status:
                secrets = [each for line in lines for each in possible_passphrases(line)]
                title = f"{self._name}.run: status {status}"
                self._transcript.add(title, lambda: output, lambda: secrets)
                return output
            problem = f"filer ended with status {ended.status}, not {status}"
        pytest.fail(with_output(problem, output))

    @property
    def console(self) -> "Terminal":
        """A terminal at the console's prompt; the filer is booted at the first access.

        ``enter(line)`` types a line and returns what is printed before the next prompt or question,
        which is then in ``prompt``; ``leave()`` cancels an open question and powers off; ``child``
        is the ``pexpect.spawn``.
        """
        __tracebackhide__ = True
        if self._console is None or not self._console.child.isalive():
            self._console = self.power_on().booted()
        return self._console

    def power_on(self) -> "Terminal":
        """Start the console and return it at once, without waiting for a prompt.

        A boot that waits for giveback, or that stops at a question, has no prompt.
        """
        wanted = self._wanted
        started = self._account.terminal(
            *wanted.options, rows=wanted.rows, columns=wanted.columns, timeout=wanted.timeout
        )
        terminal = self._console = self._stack.enter_context(started)
        title = f"{self._name}.console"
        self._transcript.add(title, terminal.transcript, lambda: terminal.secrets)
        return terminal

    def kill(self) -> None:
        """Kill the process of the console and of `ssh` at once, as a defect of the controller."""
        if self._console is not None and self._console.child.isalive():
            self._console.child.kill(SIGKILL)
            self._console.child.wait()
        if self._ssh is not None:
            self._ssh.kill()

    def ssh(self) -> "Ssh":
        """Start the filer as an SSH server; it ends with ``close()``, ``with`` or the test.

        It has ``address``, ``port``, ``user``, ``key_file`` and ``known_hosts``.
        """
        __tracebackhide__ = True
        from pytest_filer.ssh import Ssh

        self._boot_once()
        self._ssh = ssh = Ssh(self._account, self._wanted.timeout)
        self._stack.callback(ssh.close)
        return ssh

    def disk(self, name: str) -> "Disk":
        """Return the disk ``name``, such as ``0c.00.5``; it has ``lock_out()`` and ``fail()``.

        In a pair, ask the node that owns the disk.
        """
        __tracebackhide__ = True
        from pytest_filer.disk import Disk

        self._boot_once()
        return Disk(self._process(), self.root, name)

    def _boot_once(self) -> None:
        """Boot if the filer was never booted: the first boot fills the root and the shelf."""
        __tracebackhide__ = True
        if not (self.root / "var" / "shelf.toml").exists():
            self.run()


class FilerPair:
    """An HA pair: two filers with one shelf, the same key servers and the same client certificate.

    ``first`` is filer1 and ``second`` filer2.  Of the disks, the even ones belong to filer2.  Each
    node is off until its ``console``, ``run``, ``power_on`` or ``ssh`` starts it.
    """

    def __init__(self, first: FilerUnderTest, second: FilerUnderTest) -> None:
        self.first = first
        self.second = second
        self.key_servers = first.key_servers
        self._cut = first.root / "run" / "cut"

    def cut_interconnect(self) -> None:
        """Cut the interconnect until `mend_interconnect`; a reboot does not mend it."""
        self._cut.parent.mkdir(0o700, exist_ok=True)
        self._cut.touch()

    def mend_interconnect(self) -> None:
        """Mend the interconnect; does nothing if it is whole."""
        self._cut.unlink(missing_ok=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of a failed test what its filer has shown."""
    report = yield
    if report.failed and _TRANSCRIPT in item.stash:
        report.sections += item.stash[_TRANSCRIPT].sections()
    return report


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", f"filer({_ARGUMENTS}): settings of the fixture filer")


@pytest.fixture(scope="session")
def _filer_key_servers(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[KeyServerProcess]":
    """Start the process of the key servers."""
    from pytest_filer.key_servers import (
        ADDRESSES,
        KeyServerProcess,
        RequestFailed,
        usable_addresses,
    )

    directory = tmp_path_factory.getbasetemp()
    if hasattr(pytestconfig, "workerinput"):  # the workers of pytest-xdist share a directory
        directory = directory.parent
    addresses = usable_addresses()[: len(ADDRESSES)]
    try:
        process = KeyServerProcess(directory, addresses)
    except RequestFailed as problem:
        failure = problem
    else:
        yield process
        process.close()
        return
    _fail(failure)


@pytest.fixture
def filer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FilerUnderTest]:
    """A filer in a temporary root, with running key servers and a console.

    ``@pytest.mark.filer(key_servers=3, disks=24)`` changes its settings.
    """
    with _started(request, tmp_path, _filer) as filer:
        yield filer


@pytest.fixture
def filer_pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FilerPair]:
    """An HA pair in temporary roots, with running key servers and two consoles.

    ``@pytest.mark.filer(key_servers=3, disks=24)`` changes the settings of both; ``disks`` is the
    number of bays in the shelf that they share.
    """
    with _started(request, tmp_path, _pair) as pair:
        yield pair


@contextmanager
def _started(
    request: pytest.FixtureRequest, directory: Path, make: "Callable[[_Bench], _Made]"
) -> "Iterator[_Made]":
    wanted = _wanted(request.node.get_closest_marker("filer"))
    from pytest_filer.key_servers import RequestFailed

    with ExitStack() as stack:
        try:
            made = make(_Bench(stack, directory, request, wanted))
        except RequestFailed as problem:
            failure = problem
        else:
            yield made
            return
    _fail(failure)


def _wanted(marker: pytest.Mark | None) -> _Wanted:
    if marker is None:
        return _Wanted()
    unknown = [*map(repr, marker.args), *(marker.kwargs.keys() - _Wanted._fields)]
    if unknown:
        _refuse(f"unexpected {', '.join(sorted(unknown))}; its arguments are {_ARGUMENTS}")
    wanted = _Wanted(**marker.kwargs)
    if not (isinstance(wanted.timeout, int | float) and wanted.timeout > 0):
        _refuse(f"timeout must be a number of seconds, not {wanted.timeout!r}")
    return wanted


def _refuse(reason: str) -> NoReturn:
    pytest.fail(f"pytest.mark.filer: {reason}", pytrace=False)


def _fail(problem: Exception) -> NoReturn:
    pytest.fail(f"the fixture filer: {problem}", pytrace=False)


class _Bench:
    """What a test's filers have in common: key servers, a transcript and the marker."""

    def __init__(
        self, stack: ExitStack, directory: Path, request: pytest.FixtureRequest, wanted: _Wanted
    ) -> None:
        """Start the key servers.  Raises RequestFailed."""
        from pytest_filer.key_servers import ADDRESSES

        if find_spec("pexpect") is None:
            pytest.fail(
                f"the fixture {request.fixturename} needs pexpect: pip install pexpect",
                pytrace=False,
            )
        if wanted.key_servers not in range(len(ADDRESSES) + 1):
            _refuse(f"key_servers must be 0 to {len(ADDRESSES)}, not {wanted.key_servers!r}")
        self.directory = directory
        self._stack = stack
        self._request = request
        self._wanted = wanted
        self._transcript = request.node.stash.setdefault(_TRANSCRIPT, Transcript())
        self._files = directory / f"key servers of {request.fixturename}"
        self._servers: list[KeyServer] = []
        if wanted.key_servers:
            _skip_without_addresses(wanted.key_servers)
            started = self._process().key_servers(self._files, wanted.key_servers)
            self._servers = stack.enter_context(started)

    def _process(self) -> "KeyServerProcess":
        started: KeyServerProcess = self._request.getfixturevalue("_filer_key_servers")
        return started

    def filer(self, account: "Account", name: str) -> FilerUnderTest:
        """Return the filer of ``account``, with changed settings and certificates.

        Raises RequestFailed.
        """
        import tomllib

        import tomli_w

        if self._servers:
            self._process().install_certificates(self._files, account.root)
        tables = tomllib.loads(account.settings.read_text(encoding="utf-8"))
        kmip = {"port": self._servers[0].port} if self._servers else {}
        shelf = {"disks": self._wanted.disks, "disk_size": "1 MiB"}
        for changed in ({"shelf": shelf, "kmip": kmip}, self._wanted.settings):
            for table, values in changed.items():
                tables.setdefault(table, {}).update(values)
        # Written last: what is wrong with the settings is for the filer to say when it starts.
        account.settings.write_text(tomli_w.dumps(tables), encoding="utf-8")
        return FilerUnderTest(
            account,
            self._servers,
            name=name,
            process=self._process,
            stack=self._stack,
            transcript=self._transcript,
            wanted=self._wanted,
        )


def _filer(bench: _Bench) -> FilerUnderTest:
    from pytest_filer.console import Account

    return bench.filer(Account(bench.directory / "filer", settings=""), "filer")


def _pair(bench: _Bench) -> FilerPair:
    from pytest_filer.console import Account, with_output

    maker = Account(bench.directory / "pair", settings="")
    directory = maker.home / "nodes"
    made = maker.run("--new-pair", directory, together=True)
    if made.status:
        pytest.fail(with_output("filer --new-pair failed", made.out), pytrace=False)
    first, second = (
        bench.filer(
            Account(maker.home / f"home of {name}", root=directory / name), f"filer_pair.{number}"
        )
        for number, name in (("first", "filer1"), ("second", "filer2"))
    )
    return FilerPair(first, second)


def _skip_without_addresses(count: int) -> None:
    """Skip the test if this host has too few loopback addresses for ``count`` key servers."""
    from pytest_filer.key_servers import usable_addresses

    usable = usable_addresses()
    if len(usable) < count:
        pytest.skip(
            f"{count} key servers need as many loopback addresses, and this host has only "
            f"{' and '.join(usable) or 'none'}; macOS gets one more by "
            "'sudo ifconfig lo0 alias 127.0.0.2', and so on"
        )
