"""Progress of long work: who sees it, and what is left of it on the screen afterwards."""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from io import StringIO
from pathlib import Path

import pytest

from filer.disks.disk import Disk, DiskError
from filer.host.standard_streams import OutputLost
from filer.keyserver.server import KeyServer
from filer.running.progress import Progress, Steps, Tell, Wait, Work
from filer.shell.prompt.progress_line import PATIENCE, ProgressLine, text
from tests.kit import manual
from tests.kit.console import Account, change_settings, having_added
from tests.kit.hostile import silenced
from tests.kit.house import Told
from tests.kit.manual import Build
from tests.kit.screen import Screen, screen

build = manual.build

REKEY = Steps("rekey", "disks", 1000, interruptible=True)
UNLOCK = Steps("unlock", "disks", 1000, interruptible=False)
MANY = 2000


# The line.


@pytest.mark.parametrize(
    ("work", "done", "seconds", "said"),
    [
        (REKEY, 0, 0.6, "rekey: 0 of 1000 disks. Ctrl-C stops safely between disks."),
        (
            REKEY,
            250,
            0.5,
            "rekey: 250 of 1000 disks, 500/s, 2 s left. Ctrl-C stops safely between disks.",
        ),
        (UNLOCK, 5, 2.0, "unlock: 5 of 1000 disks, 2.5/s, 6 min 38 s left"),
        (
            Wait("key servers", 2, interruptible=True),
            1,
            3.1,
            "1 of 2 key servers have answered, 3 s. Ctrl-C stops waiting.",
        ),
        (
            Wait("key servers", 4, interruptible=False),
            0,
            61.0,
            "0 of 4 key servers have answered, 1 min 1 s",
        ),
    ],
)
def test_work_is_described_in_one_line(work: Work, done: int, seconds: float, said: str) -> None:
    assert text(work, done, seconds) == said


class Paper:
    """A screen of one line, and a clock."""

    def __init__(self, columns: int = 80) -> None:
        self.now = 100.0
        self.drawn: list[str] = []
        self.line = ProgressLine(self.drawn.append, lambda: columns, clock=lambda: self.now)

    @property
    def shown(self) -> str:
        """The displayed text after everything that was drawn."""
        cells: list[str] = []
        column = 0
        for character in "".join(self.drawn):
            if character == "\r":
                column = 0
                continue
            cells[column : column + 1] = character
            column += 1
        assert column == 0
        return "".join(cells).rstrip()


def test_short_work_is_not_shown() -> None:
    paper = Paper()
    with paper.line.show(REKEY) as tell:
        for done in range(1000):
            paper.now += PATIENCE / 1001
            tell(done)

    assert paper.drawn == []


def test_long_work_is_shown_ten_times_a_second_and_then_gone() -> None:
    paper = Paper()
    with paper.line.show(REKEY) as tell:
        for done in range(1000):
            paper.now += 0.002
            tell(done)
        assert paper.shown.startswith("rekey: 9")

    assert paper.shown == ""
    assert 15 <= len(paper.drawn) <= 17


def test_something_else_can_be_printed_in_the_middle() -> None:
    paper = Paper()
    with paper.line.show(REKEY) as tell:
        paper.now += 1
        tell(10)
        paper.line.clear()
        assert paper.shown == ""
        paper.now += 1
        tell(20)
        assert paper.shown.startswith("rekey: 20 of")

    assert paper.shown == ""


def test_work_that_fails_leaves_nothing_either() -> None:
    paper = Paper()

    def fail() -> None:
        with paper.line.show(REKEY) as tell:
            paper.now += 1
            tell(0)
            raise DiskError

    with pytest.raises(DiskError):
        fail()

    assert paper.shown == ""


@pytest.mark.parametrize("columns", [1, 2, 20, 79])
def test_the_line_never_fills_the_width_of_the_screen(columns: int) -> None:
    paper = Paper(columns)
    with paper.line.show(REKEY) as tell:
        paper.now += 1
        tell(100)
        assert paper.shown == text(REKEY, 100, 1.0)[: columns - 1].rstrip()

    assert paper.shown == ""


def test_work_goes_on_when_the_terminal_has_hung_up() -> None:
    def hung_up(_text: str) -> None:
        raise OutputLost(None)

    now = iter(range(100))
    line = ProgressLine(hung_up, lambda: 80, clock=lambda: next(now))
    with line.show(REKEY) as tell:
        tell(1)
        tell(2)


# Sources of progress.


class Listener:
    """Records the reported work and its progress."""

    def __init__(self) -> None:
        self.heard: list[tuple[Work, list[int]]] = []
        self.open = 0

    def __call__(self, work: Work) -> AbstractContextManager[Tell]:
        return self._listen(work)

    @contextmanager
    def _listen(self, work: Work) -> Iterator[Tell]:
        self.heard.append((work, []))
        self.open += 1
        try:
            yield self.heard[-1][1].append
        finally:
            self.open -= 1

    def of(self, kind: type[Work]) -> list[tuple[Work, list[int]]]:
        """Return the records of this kind of work."""
        return [each for each in self.heard if isinstance(each[0], kind)]


def test_an_operation_tells_each_disk_before_it_is_reached(build: Build) -> None:
    house = build()
    house.add()
    house.good("key_manager rekey")
    for line, answers, verb in (
        ("key_manager rekey", (), "rekey"),
        ("disk encrypt lock *", (), "lock"),
        ("disk encrypt rekey 0x0 *", (), "rekey"),
        ("disk encrypt sanitize -all", ("sanitize disk",), "sanitize"),
        ("disk encrypt destroy 0c.00.3", ("destroy disk",), "destroy"),
    ):
        house.progress = listener = Listener()
        house.execute(line, *answers)
        [(work, told)] = listener.of(Steps)

        assert isinstance(work, Steps)
        assert (work.what, work.things, work.interruptible) == (verb, "disks", True), line
        assert told == list(range(work.total))
        assert listener.open == 0


def test_a_boot_tells_the_disks_that_it_unlocks(build: Build) -> None:
    house = build()
    house.encrypt()
    listener = Listener()
    house.power_cycle()
    locked = [disk for disk in house.filer.shelf if is_locked(disk)]
    with house.filer.progress.shown(listener):
        house.boot_now(Told())

    assert listener.of(Steps) == [
        (Steps("unlock", "disks", len(locked), interruptible=False), list(range(len(locked))))
    ]
    [(work, told)] = listener.of(Wait)
    assert work == Wait("key servers", 2, interruptible=True)
    assert told[-1] == 2


def is_locked(disk: Disk) -> bool:
    return disk.locked


def test_only_what_changes_nothing_says_that_ctrl_c_stops_it(build: Build) -> None:
    house = build()
    house.add()
    listener = Listener()
    house.progress = listener
    house.good("key_manager query")
    house.good("key_manager rekey")

    # The query; the check before the key is stored; the store; the read-back.
    assert [work.interruptible for work, _ in listener.of(Wait)] == [True, True, False, False]


def test_of_several_people_each_sees_their_own_work() -> None:
    progress, mine, theirs = Progress(), Listener(), Listener()

    def work_elsewhere() -> None:
        with progress.shown(theirs), progress.show(UNLOCK):
            pass

    with progress.shown(mine):
        thread = threading.Thread(target=work_elsewhere)
        thread.start()
        thread.join()
        with progress.show(REKEY):
            pass
    with progress.show(REKEY) as tell:
        tell(1)

    assert [work for work, _ in mine.heard] == [REKEY]
    assert [work for work, _ in theirs.heard] == [UNLOCK]


# On the screen, and elsewhere.


def watched(person: Screen) -> StringIO:
    """Return a buffer with everything that is sent to the screen."""
    sent = StringIO()
    person.child.logfile_read = sent
    return sent


def test_a_rekey_of_many_disks_is_shown_and_can_be_stopped(
    registered: Account, servers: list[KeyServer]
) -> None:
    change_settings(registered, "disks = 4", f"disks = {MANY}")
    with screen(registered, rows=40, columns=120) as person:
        person.booted()
        sent = watched(person)
        person.type("key_manager rekey\r")
        person.wait(lambda: f" of {MANY} disks" in sent.getvalue())
        person.type("\x03")
        person.shows("disks were not reached\nfiler1>")
        first = sent.getvalue()

        person.type("key_manager rekey\r")
        person.shows(f"\nCompleted rekey on {MANY} disks: ")
        lines = person.text.splitlines()

    for told in (first, sent.getvalue()[len(first) :]):
        assert f" of {MANY} disks" in told
        assert "Ctrl-C stops safely between disks." in told
    commands = [at for at, line in enumerate(lines) if line == "filer1> key_manager rekey"]
    assert len(commands) == 2
    for at in commands:
        assert [line.split()[0] for line in lines[at + 1 : at + 8]] == [
            "New",
            "Key",
            "Key",
            "Passphrase,",
            *(server.address for server in servers),
            "Completed",
        ]


def test_a_wait_for_a_key_server_is_shown_and_leaves_nothing(
    registered: Account, servers: list[KeyServer]
) -> None:
    with screen(registered) as person:
        person.booted()
        with silenced(servers[1]) as listener:
            person.type("key_manager status\r")
            with closing(listener.accept()[0]):
                person.shows("1 of 2 key servers have answered, 1 s. Ctrl-C stops waiting.")
                person.type("\x03")
                person.shows("\nfiler1> key_manager status\nkey_manager: interrupted\nfiler1>")


def test_a_boot_that_waits_says_so(registered: Account, servers: list[KeyServer]) -> None:
    change_settings(registered, "timeout = 20.0", "timeout = 1.5")
    with silenced(servers[1]), screen(registered) as person:
        person.shows("1 of 2 key servers have answered, 1 s")
        person.shows(
            f"WARNING: kmip_init: key server {servers[1].address} is not responding: no answer"
        )
        person.booted()

    assert "have answered" not in person.text


@pytest.mark.parametrize(
    "environment", [{"TERM": "dumb"}, {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}]
)
def test_a_terminal_that_is_not_a_persons_shows_no_progress(
    registered: Account, servers: list[KeyServer], environment: dict[str, str]
) -> None:
    with registered.terminal(environment=environment) as terminal:
        terminal.shows("filer1>")
        with silenced(servers[1]) as listener:
            terminal.type("key_manager status\r")
            with closing(listener.accept()[0]):
                time.sleep(PATIENCE + 0.3)
                terminal.type("\x03")
                terminal.shows("key_manager: interrupted")

    assert "have answered" not in terminal.seen


def test_a_pipe_gets_no_progress(tmp_path: Path, servers: list[KeyServer]) -> None:
    account = having_added(servers, tmp_path / "home", "init_maxwait = 0.0\n")
    change_settings(account, "timeout = 20.0", "timeout = 1.0")
    with silenced(servers[1]):
        ended = account.commands("key_manager status")

    assert ended.out == f"Key server {servers[0].address} is responding.\n"
    assert "\r" not in ended.err
    assert "have answered" not in ended.err


def test_a_recording_has_no_progress(
    registered: Account, tmp_path: Path, servers: list[KeyServer]
) -> None:
    cast = tmp_path / "session.cast"
    with screen(registered, "--record", str(cast)) as person:
        person.booted()
        with silenced(servers[1]) as listener:
            person.type("key_manager status\r")
            with closing(listener.accept()[0]):
                person.shows("1 of 2 key servers have answered")
                person.type("\x03")
                person.shows("interrupted")
        person.settle()
        assert person.leave() == 0

    assert "interrupted" in cast.read_text(encoding="utf-8")
    assert "have answered" not in cast.read_text(encoding="utf-8")
