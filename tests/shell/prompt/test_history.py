"""The history file: its permissions and its maximum size."""

import os
import stat
from pathlib import Path

import pytest

from filer.shell.prompt.history import SessionHistory, open_history
from filer.shell.prompt.history_size import LARGEST
from filer.shell.prompt.terminal import remember
from tests.kit import manual
from tests.kit.manual import Build

build = manual.build


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history"


def remembered(path: Path) -> list[str]:
    """Return the lines that a console finds, newest first."""
    return list(open_history(path.parent).load_history_strings())


def test_a_history_that_grows_large_loses_its_oldest_lines_only(path: Path) -> None:
    history = open_history(path.parent)
    numbers = range(LARGEST // 1000 + 100)
    for number in numbers:
        history.store_string(f"line {number} " + "x" * 1000)
    assert path.stat().st_size > LARGEST

    kept = [int(line.split()[1]) for line in remembered(path)]

    assert kept == sorted(numbers, reverse=True)[: len(kept)]
    assert LARGEST // 2200 < len(kept) <= LARGEST // 2000
    assert path.stat().st_size <= LARGEST // 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    open_history(path.parent).store_string("another")
    assert remembered(path)[:2] == ["another", f"line {numbers[-1]} " + "x" * 1000]


def test_a_history_of_the_largest_size_stays_as_it_is(path: Path) -> None:
    content = "\n# 2026-11-24\n+hostname\n" * (LARGEST // 25)
    path.write_text(content, encoding="ascii")

    assert set(remembered(path)) == {"hostname"}
    assert path.read_text(encoding="ascii") == content


def test_a_history_without_an_entry_that_fits_begins_anew(path: Path) -> None:
    path.write_text("x" * (2 * LARGEST), encoding="ascii")

    assert remembered(path) == []
    assert path.stat().st_size == 0


def test_a_history_elsewhere_stays_there(path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("\n# 2026-11-24\n+hostname\n" * (LARGEST // 20), encoding="ascii")
    path.symlink_to(elsewhere)

    assert set(remembered(path)) == {"hostname"}
    assert path.is_symlink()
    assert elsewhere.stat().st_size <= LARGEST // 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_history_that_cannot_be_shortened_is_used_as_it_is(path: Path) -> None:
    path.write_text("\n# 2026-11-24\n+hostname\n" * (LARGEST // 20), encoding="ascii")
    path.parent.chmod(0o500)

    assert set(remembered(path)) == {"hostname"}


def test_without_a_home_the_history_is_in_memory() -> None:
    history = open_history(None)
    history.append_string("hostname")
    assert list(history.get_strings()) == ["hostname"]


@pytest.mark.parametrize("kind", ["FIFO", "link to a FIFO", "directory", "device"])
def test_what_is_not_a_regular_file_is_left_alone(path: Path, tmp_path: Path, kind: str) -> None:
    if kind == "directory":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/null")
    else:
        fifo = tmp_path / "fifo" if "link" in kind else path
        os.mkfifo(fifo)
        if fifo != path:
            path.symlink_to(fifo)
    before = path.stat()

    history = open_history(path.parent)

    history.append_string("hostname")
    assert isinstance(history, SessionHistory)
    assert list(history.get_strings()) == ["hostname"]
    assert path.stat() == before


@pytest.mark.parametrize("length", [1000, LARGEST // 40])
@pytest.mark.parametrize("in_file", [False, True])
def test_a_session_keeps_as_much_as_the_file(path: Path, length: int, in_file: bool) -> None:
    history = open_history(path.parent if in_file else None)
    count = 3 * LARGEST // (length + 32)
    for number in range(count):
        history.append_string(f"{number} ".ljust(length, "x"))

    kept = history.get_strings()
    assert sum(map(len, kept)) <= LARGEST
    assert kept[-1].startswith(f"{count - 1} ")
    assert count // 4 < len(kept) < count // 2


def test_the_list_of_a_session_is_as_short(build: Build) -> None:
    session = build().session
    for number in range(110):
        remember(session, f"hostname {number} ".ljust(LARGEST // 100, "x"))

    kept = session.state.history
    assert 90 < len(kept) < 101
    assert kept[-1].startswith("hostname 109 ")
    assert kept[0].startswith(f"hostname {110 - len(kept)} ")
