"""Rotation of the system log: weekly or at a size; no interruption loses a log."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from filer.host.durable import Storage, StorageError
from filer.mroot.system_log import LARGEST, OLD_LOGS, Messages, format_line
from filer.mroot.volume import LIMIT, Mroot
from tests.kit.console import Account

FRIDAY = datetime(2026, 11, 27, 12, 0, 0, tzinfo=timezone(timedelta(hours=1), "CET"))
WEEK = timedelta(weeks=1)
ROTATED = (
    "kern.log.rotate:notice]: System filer1 (ID 1573922407) is running NetApp Release 8.2.5 7-Mode"
)


class Host:
    """A root volume whose log is written at times that the test sets."""

    def __init__(self, directory: Path) -> None:
        self.now = FRIDAY
        self.storage = Storage()
        self.etc = directory / "mroot" / "etc"
        self.etc.mkdir(parents=True)
        self.path = self.etc / "messages"
        self.start()

    def start(self) -> None:
        """Boot: start a new log object, which knows the earlier log only from the file."""
        self.messages = Messages("filer1", lambda: self.now, 1573922407)
        self.messages.attach(self.path, self.storage)

    def log(self, text: str, now: datetime | None = None) -> None:
        self.now = now or self.now
        self.messages.log("logger.usr", "notice", text)
        if self.path.exists():
            os.utime(self.path, (self.now.timestamp(),) * 2)  # the host's clock differs

    def texts(self, name: str = "messages") -> list[str]:
        """Return the logged texts by the path of the log in the filer."""
        content = Mroot(self.etc.parent).read(f"/etc/{name}").decode()
        return [line.partition("]: ")[2] for line in content.splitlines()]

    def all_texts(self) -> dict[str, list[str]]:
        return {path.name: self.texts(path.name) for path in sorted(self.etc.iterdir())}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


SYSTEM = ROTATED.partition("]: ")[2]


def test_the_first_line_after_saturday_midnight_begins_a_new_log(host: Host) -> None:
    host.log("friday")
    host.log("saturday", FRIDAY.replace(day=28, hour=23, minute=59, second=59))
    host.log("sunday", FRIDAY.replace(day=29, hour=0))
    host.log("next saturday", FRIDAY.replace(month=12, day=5, hour=23, minute=59))

    assert host.all_texts() == {
        "messages": [SYSTEM, "sunday", "next saturday"],
        "messages.0": ["friday", "saturday"],
    }
    first = host.path.read_text(encoding="utf-8").splitlines()[0]
    assert first == f"Sun Nov 29 00:00:00 CET [filer1:{ROTATED}"


def test_a_filer_that_was_off_at_midnight_rotates_when_it_is_up(host: Host) -> None:
    host.log("old")
    host.now = FRIDAY + 3 * WEEK
    host.start()
    host.log("new")

    assert host.all_texts() == {"messages": [SYSTEM, "new"], "messages.0": ["old"]}
    host.start()
    host.log("same week")
    assert host.texts() == [SYSTEM, "new", "same week"]


def test_six_old_logs_are_kept(host: Host) -> None:
    for number in range(10):
        host.log(str(number), FRIDAY + number * WEEK)

    assert host.all_texts() == {
        "messages": [SYSTEM, "9"],
        **{f"messages.{number}": [SYSTEM, str(8 - number)] for number in range(OLD_LOGS)},
    }


def test_a_log_that_grows_is_rotated_before_it_cannot_be_read(host: Host) -> None:
    for number in range(2 * LARGEST // 8000):
        host.log(f"{number} " + "x" * 8000)
    host.log("a line " + "x" * LIMIT)
    host.log("last")

    assert host.texts()[-1] == "last"
    for path in host.etc.iterdir():
        assert path.stat().st_size <= LARGEST
        assert host.texts(path.name)
    numbers = [
        int(text.split()[0])
        for name in sorted(host.all_texts(), reverse=True)
        for text in host.texts(name)
        if text.split()[0].isdigit()
    ]
    assert numbers == list(range(2 * LARGEST // 8000))


def test_a_huge_log_of_before_is_put_away_whole(host: Host) -> None:
    line = format_line(FRIDAY, "filer1", "logger.usr", "notice", "x" * 1000) + "\n"
    huge = line * (2 * LIMIT // len(line))
    host.path.write_text(huge, encoding="utf-8")
    os.utime(host.path, (FRIDAY.timestamp(),) * 2)
    host.start()
    host.log("new")

    assert host.texts() == [SYSTEM, "new"]
    assert (host.etc / "messages.0").read_text(encoding="utf-8") == huge


def test_a_clock_that_jumps_crosses_midnight_once(host: Host) -> None:
    sunday = FRIDAY.replace(day=29, hour=0)
    host.log("before")
    for number in range(20):
        host.log(f"after {number}", sunday + timedelta(seconds=number))
        host.log(f"back {number}", sunday - timedelta(seconds=5))
    assert host.texts("messages.0") == ["before"]
    assert len(host.texts()) == 41

    host.log("years ahead", sunday + 500 * WEEK)
    host.log("corrected", sunday + timedelta(days=2))
    host.log("next week", sunday + WEEK)
    assert host.texts("messages.0") == [SYSTEM, "years ahead", "corrected"]
    assert host.texts("messages.3" if (host.etc / "messages.3").exists() else "messages.2") == [
        "before"
    ]


@pytest.mark.parametrize("name", ["Europe/Berlin", "America/New_York", "Pacific/Chatham"])
def test_midnight_is_that_of_the_filer_in_summer_and_in_winter(host: Host, name: str) -> None:
    zone = ZoneInfo(name)
    when = datetime(2026, 3, 1, 12, tzinfo=zone)
    weeks = 0
    while when.year == 2026:
        host.log("noon", when)
        weeks += host.texts()[0] == SYSTEM and len(host.texts()) == 2
        when += timedelta(days=1)
    assert weeks == 43


class Cut(Exception):
    """The program is killed."""


class Killed(Storage):
    """Is killed before or after one rename."""

    def __init__(self, renames: int, *, done: bool) -> None:
        self.left = renames
        self._done = done

    def rename(self, path: Path, new: Path) -> None:
        self.left -= 1
        if self.left == 0 and not self._done:
            raise Cut
        super().rename(path, new)
        if self.left == 0:
            raise Cut


def kept(host: Host) -> Iterator[str]:
    """Yield the texts logged by the test, from the oldest log to the newest."""
    for name in (*(f"messages.{number}" for number in reversed(range(OLD_LOGS))), "messages"):
        if (host.etc / name).exists():
            yield from (text for text in host.texts(name) if text != SYSTEM)


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("renames", range(1, OLD_LOGS + 1))
@pytest.mark.parametrize("logs", [1, 3, OLD_LOGS, OLD_LOGS + 1])
def test_no_log_is_lost_when_a_rotation_is_cut_short(
    host: Host, logs: int, renames: int, done: bool
) -> None:
    for number in range(logs):
        host.log(str(number), FRIDAY + number * WEEK)
    host.storage = Killed(renames, done=done)
    host.start()
    cut = False
    try:
        host.log("new", FRIDAY + logs * WEEK)
    except Cut:
        cut = True
    oldest_goes = logs == OLD_LOGS + 1 and not (cut and renames == 1 and not done)
    expected = [str(number) for number in range(oldest_goes, logs)]

    assert list(kept(host)) == expected + ([] if cut else ["new"])
    host.storage = Storage()
    host.start()
    host.log("newer")
    newer = expected + ([] if cut else ["new"]) + ["newer"]
    assert list(kept(host)) == newer[-OLD_LOGS - 1 :]


class Refuses(Storage):
    """Refuses to rename, or to write."""

    refuses = ""

    def rename(self, path: Path, new: Path) -> None:
        if self.refuses == "rename":
            raise StorageError("cannot write messages.0: No space left on device")
        super().rename(path, new)

    def append(self, path: Path, data: bytes) -> None:
        if self.refuses == "append":
            raise StorageError("cannot write messages: No space left on device")
        super().append(path, data)


@pytest.mark.parametrize("refuses", ["rename", "append"])
def test_a_full_disk_costs_no_line(host: Host, refuses: str) -> None:
    host.storage = storage = Refuses()
    host.start()
    host.log("old")
    storage.refuses = refuses
    for number in range(3):
        host.log(f"full {number}", FRIDAY + WEEK)
    storage.refuses = ""
    host.log("new")

    assert list(kept(host)) == ["old", "full 0", "full 1", "full 2", "new"]
    assert host.texts()[-1] == "new"
    assert (host.etc / "messages.0").exists()


def test_other_files_with_the_name_of_an_old_log_do_not_stop_a_rotation(host: Host) -> None:
    (host.etc / "messages.0").mkdir()
    (host.etc / "messages.1").symlink_to("nowhere")
    host.log("old")
    host.log("new", FRIDAY + WEEK)

    assert host.texts() == [SYSTEM, "new"]
    assert host.texts("messages.0") == ["old"]
    assert (host.etc / "messages.1").is_dir()


def test_several_sessions_log_while_it_rotates(tmp_path: Path) -> None:
    minutes = iter(range(1_000_000))
    guard = threading.Lock()

    def now() -> datetime:
        with guard:
            return FRIDAY + timedelta(minutes=next(minutes) * 90)

    path = tmp_path / "messages"
    messages = Messages("filer1", now)
    messages.attach(path, Storage())

    def write(number: int) -> None:
        for line in range(50):
            messages.log("logger.usr", "notice", f"n{number}l{line}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))

    logs = sorted(tmp_path.iterdir())
    assert len(logs) == 1 + 4
    lines = [line for log in logs for line in log.read_text(encoding="utf-8").splitlines()]
    texts = [line.rpartition(" ")[2] for line in lines if "logger.usr" in line]
    assert sorted(texts) == sorted(f"n{number}l{line}" for number in range(8) for line in range(50))


def test_the_program_rotates_and_shows_an_old_log(account: Account) -> None:
    assert account.commands("logger before").status == 0
    log = account.root / "mroot" / "etc" / "messages"
    os.utime(log, (log.stat().st_mtime - 8 * 86400,) * 2)

    ended = account.commands("logger after", "rdfile /etc/messages.0", "rdfile /etc/messages")

    assert (ended.err, ended.status) == ("", 0)
    assert ended.out.count("]: before\n") == ended.out.count("]: after\n") == 1
    assert ended.out.index("]: before\n") < ended.out.index(ROTATED) < ended.out.index("]: after\n")
    assert log.with_name("messages.0").stat().st_mode & 0o777 == 0o600
