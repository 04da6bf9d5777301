"""Several users of one filer: who may change it, whom Ctrl-C stops, what may be read meanwhile."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from filer.host.durable import Storage
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.keytable import Entry, Keytable
from filer.mroot.system_log import Messages
from filer.running.interrupt import Interrupt, Interrupted
from filer.running.turn import Busy, ChangeLock
from filer.shell.line.synopsis import head
from filer.shell.plugins import Commands

CHANGING = {
    *(f"key_manager {verb}" for verb in ("setup", "add", "remove", "rekey", "restore")),
    *(f"keymgr {verb} cert" for verb in ("install", "delete")),
    *(f"cf {verb}" for verb in ("disable", "enable", "forcetakeover", "giveback", "takeover")),
    *("date", "disk assign", "disk fail", "disk unfail", "disk zero spares", "options"),
    *(f"disk encrypt {verb}" for verb in ("lock", "rekey", "sanitize", "destroy")),
}
"""The lines that change the filer; all others only read."""


def in_another_thread(work: Callable[[], object]) -> object:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def test_a_second_change_is_refused_with_the_name_of_the_first() -> None:
    changes = ChangeLock()
    with (
        changes.turn("key_manager rekey", "root"),
        pytest.raises(Busy, match=r'^busy: "key_manager rekey" of root is running$'),
        changes.turn("disk encrypt lock", "the console"),
    ):
        pytest.fail("both have the turn")


def test_the_turn_is_free_after_a_change_however_it_ended() -> None:
    changes = ChangeLock()
    with pytest.raises(Interrupted), changes.turn("key_manager rekey", "the console"):
        raise Interrupted

    with changes.turn("key_manager rekey", "the console"):
        pass


def test_ctrl_c_reaches_the_thread_that_it_is_for_and_no_other() -> None:
    filers = Interrupt()
    mine = Interrupt()

    def command() -> bool:
        filers.use(mine)
        before = filers.requested
        mine.request()
        with pytest.raises(Interrupted):
            filers.check()
        return before

    filers.request()

    assert in_another_thread(command) is False
    assert filers.requested
    assert not mine.requested


def test_a_request_for_good_stays_with_its_thread() -> None:
    filers, mine = Interrupt(), Interrupt()
    mine.request(for_good=True)

    def command() -> bool:
        filers.use(mine)
        filers.clear()
        return filers.requested

    assert in_another_thread(command) is True
    assert not filers.requested


def test_every_command_says_whether_it_changes_the_filer() -> None:
    changing = {
        " ".join(head(line, subcommand.values))
        for command in Commands(pytest.fail).values()
        for subcommand in command.subcommands
        for line in subcommand.usage
        if subcommand.changes
    }

    assert changing == CHANGING


def test_a_keytable_can_be_read_while_it_is_loaded() -> None:
    table = Keytable()
    key = AuthenticationKey(b"x" * 32)
    done = threading.Event()

    def load() -> None:
        for number in range(20_000):
            table.add([Entry(f"{number:064X}", "tag", (key,))])
        done.set()

    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load)
        while not done.is_set():
            assert all(entry.tag == "tag" for entry in table)
        loading.result()


def test_no_line_of_the_log_is_lost_when_several_write_it(tmp_path: Path) -> None:
    messages = Messages("filer1", lambda: datetime.now(UTC))
    messages.attach(tmp_path / "messages", Storage())

    def write(number: int) -> None:
        for line in range(50):
            messages.log("logger.usr", "notice", f"n{number}l{line}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))

    written = [line.rpartition(" ")[2] for line in (tmp_path / "messages").read_text().splitlines()]
    assert sorted(written) == sorted(
        f"n{number}l{line}" for number in range(8) for line in range(50)
    )
