"""What a person sees of the console over SSH: the same as at a local terminal."""

import time
from contextlib import closing

import pexpect

from filer.keyserver.server import KeyServer
from filer.shell.manual.typesetting import render
from filer.shell.prompt.progress_line import PATIENCE
from tests.kit.console import DISKS, Account, configure
from tests.kit.hostile import silenced
from tests.kit.pages import PAGES
from tests.kit.remote import Remote, give_access, serving

ASKED = "\x1b[6n"


def test_words_are_coloured_and_a_wrong_one_is_marked(remote: Remote) -> None:
    with remote.screen() as person:
        person.booted().type("key_manager shwo")

        person.shows_colour("key_manager", "brightcyan")
        person.wait(lambda: all(cell.underscore for cell in person.cells("shwo")), "a mark")


def test_the_menu_opens_by_itself_and_names_no_file_of_the_host(remote: Remote) -> None:
    with remote.screen() as person:
        person.booted().type("keymg")
        person.shows("keymgr  install, list, view and delete certificate files")
        person.type("r install cert /")
        person.shows_no("keymgr  ")
        person.settle()

        assert "/etc" not in person.text


def test_the_toolbar_says_what_matters(remote: Remote) -> None:
    with remote.screen() as person:
        person.booted()

        person.wait(lambda: person.toolbar.startswith("no key servers"), "a toolbar")
        assert f"0/{DISKS} locked" in person.toolbar


def test_a_line_of_the_history_is_suggested(remote: Remote) -> None:
    with remote.screen() as person:
        assert person.booted().enter("key_manager show") == "No key servers are registered.\n"
        person.type("key_m")

        person.shows_typed("filer1> key_manager show")
        person.type("\x1b[C")
        person.type("\r")
        person.wait(lambda: person.text.count("No key servers are registered.") == 2)


def test_a_page_has_its_colours_and_no_pager(remote: Remote) -> None:
    lines = render(PAGES["na_keymgr"], 80).count("\n")
    with remote.screen(rows=lines + 5) as person:
        person.booted().type("man keymgr\r")
        person.shows("SYNOPSIS", "SEE ALSO")

        assert all(cell.bold for cell in person.cells("SYNOPSIS"))
        assert "brightcyan" in person.colours("keymgr install cert")
        person.shows_typed("filer1>")


def test_a_wait_is_shown_and_leaves_nothing(registered: Account, servers: list[KeyServer]) -> None:
    with serving(registered) as remote, remote.screen() as person:
        person.booted()
        with silenced(servers[1]) as listener:
            person.type("key_manager status\r")
            with closing(listener.accept()[0]):
                person.shows("1 of 2 key servers have answered, 1 s. Ctrl-C stops waiting.")
                person.type("\x03")
                person.shows("filer1> key_manager status\nkey_manager: interrupted\nfiler1>")


def test_a_program_that_drives_the_console_is_asked_once_and_sees_no_comforts(
    registered: Account, servers: list[KeyServer]
) -> None:
    with serving(registered) as remote, remote.terminal() as terminal:
        terminal.booted().enter("key_manager show")
        with silenced(servers[1]) as listener:
            terminal.type("key_manager status\r")
            with closing(listener.accept()[0]):
                time.sleep(PATIENCE + 0.3)
                terminal.type("\x03")
                terminal.shows("key_manager: interrupted")
        assert terminal.leave() == 0

    assert terminal.seen.count(ASKED) == 1
    assert "have answered" not in terminal.seen
    assert "locked" not in terminal.seen
    assert "WARNING" not in terminal.seen


def test_the_settings_are_those_of_the_serving_user(account: Account) -> None:
    give_access(account)
    configure(account, 'theme = "none"\nediting = "vi"\ntoolbar = 7\n')
    with serving(account) as remote, remote.screen() as person:
        assert isinstance(remote.child.before, str)
        assert "config.toml:3: toolbar must be true or false; ignored" in remote.child.before
        person.booted().type("key_manager show")
        person.wait(lambda: person.toolbar.startswith("vi insert | "), "a toolbar")

        assert not person.is_coloured


def test_the_farewell_stands_alone_below_the_line(account: Account) -> None:
    with serving(account) as remote, remote.screen() as person:
        person.booted().type("key_manager ")
        person.shows("setup")
        assert remote.run("reboot").status == 0
        person.shows("this session ends.")
        person.child.expect(pexpect.EOF)

        lines = person.text.rstrip().splitlines()
        assert lines[-1].startswith("filer1: the system reboots")
        assert lines[-2] == "filer1> key_manager"
