"""The system log."""

import os
import stat
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.host.durable import Storage, StorageError
from filer.mroot.system_log import Messages, format_line
from filer.mroot.volume import Mroot

NOON = datetime(2026, 11, 24, 10, 17, 29, tzinfo=UTC)


class Clock:
    """Advances by a second at each call."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        now = self.now
        self.now += timedelta(seconds=1)
        return now


@pytest.fixture
def log() -> Messages:
    return Messages("filer1", Clock())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "mroot" / "etc").mkdir(parents=True)
    return tmp_path / "mroot" / "etc" / "messages"


def line(second: int, text: str) -> str:
    return f"Tue Nov 24 10:17:{second} UTC [filer1:test.event:info]: {text}\n"


def test_a_line_bears_time_zone_host_event_and_severity() -> None:
    assert format_line(NOON, "filer1", "kmip.init.done", "info", "14 key pairs loaded") == (
        "Tue Nov 24 10:17:29 UTC [filer1:kmip.init.done:info]: 14 key pairs loaded"
    )
    there = NOON.astimezone(timezone(timedelta(hours=9), "JST"))
    assert format_line(there, "filer1", "e", "error", "x") == (
        "Tue Nov 24 19:17:29 JST [filer1:e:error]: x"
    )


@given(st.text(alphabet=st.characters()), st.text(alphabet=st.characters()))
def test_any_text_is_logged_as_one_printable_line(event: str, text: str) -> None:
    shown = format_line(NOON, "filer1", event, "info", text)
    assert shown.isprintable()
    assert len(shown.splitlines()) == 1


def test_what_is_logged_before_wafl_is_up_is_written_then(log: Messages, path: Path) -> None:
    assert log.log("test.event", "info", "one") + "\n" == line(29, "one")
    log.log("test.event", "info", "two\nlines \x1b[31m")
    assert not path.exists()
    log.attach(path, Storage())
    expected = line(29, "one") + line(30, "two\\nlines \\x1b[31m")
    assert path.read_text() == expected
    log.log("test.event", "info", "three")
    assert path.read_text() == expected + line(31, "three")


def test_what_is_logged_after_wafl_went_down_is_written_when_it_is_up_again(
    log: Messages, path: Path
) -> None:
    log.attach(path, Storage())
    log.log("test.event", "info", "one")
    log.detach()
    log.log("test.event", "info", "two")
    assert path.read_text() == line(29, "one")
    log.attach(path, Storage())
    assert path.read_text() == line(29, "one") + line(30, "two")


def test_the_log_is_shown_by_its_path_in_the_filer(
    log: Messages, path: Path, tmp_path: Path
) -> None:
    log.attach(path, Storage())
    log.log("test.event", "info", "one")
    for name in ("/etc/messages", "/mroot/etc/messages"):
        assert Mroot(tmp_path / "mroot").read(name).decode() == line(29, "one")


def test_a_torn_last_line_stays_a_line_of_its_own(log: Messages, path: Path) -> None:
    path.write_text(line(10, "whole") + "Tue Nov 24 10:1")
    os.utime(path, (NOON.timestamp(),) * 2)
    log.log("test.event", "info", "one")
    log.attach(path, Storage())
    assert path.read_text() == line(10, "whole") + "Tue Nov 24 10:1\n" + line(29, "one")


def test_only_its_owner_reads_the_log(log: Messages, path: Path) -> None:
    old = os.umask(0)
    try:
        log.attach(path, Storage())
        log.log("test.event", "info", "one")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


class FullDisk(Storage):
    """Writes only a few bytes of each line while the disk is full."""

    full = True

    def append(self, path: Path, data: bytes) -> None:
        """Fail as on a full disk."""
        if self.full:
            super().append(path, data[:5])
            raise StorageError("cannot write messages: No space left on device")
        super().append(path, data)


def test_a_command_never_fails_for_its_log_and_no_line_is_lost(log: Messages, path: Path) -> None:
    storage = FullDisk()
    log.log("test.event", "info", "one")
    with pytest.raises(StorageError):
        log.attach(path, storage)
    log.log("test.event", "info", "two")
    storage.full = False
    log.log("test.event", "info", "three")
    shown = path.read_text().splitlines(keepends=True)
    assert [text for text in shown if len(text) > len("torn\n") + 1] == [
        line(29, "one"),
        line(30, "two"),
        line(31, "three"),
    ]


def test_what_is_no_file_is_refused_and_not_waited_for(log: Messages, path: Path) -> None:
    os.mkfifo(path)
    log.log("test.event", "info", "one")
    with pytest.raises(StorageError, match="cannot write messages: not a regular file"):
        log.attach(path, Storage())
    log.log("test.event", "info", "two")
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match="cannot write messages: "):
        log.attach(path, Storage())
    path.rmdir()
    log.log("test.event", "info", "three")
    assert path.read_text() == line(29, "one") + line(30, "two") + line(31, "three")


def test_without_wafl_for_ever_the_oldest_lines_are_forgotten(log: Messages, path: Path) -> None:
    for number in range(1500):
        log.log("test.event", "info", str(number))
    log.attach(path, Storage())
    shown = path.read_text().splitlines()
    assert len(shown) == 1000
    assert shown[-1].endswith("]: 1499")
