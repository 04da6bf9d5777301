"""Completion: candidates, their descriptions, and very many of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from filer.commands import Command, Subcommand
from filer.disks.disk import LOCKOUT_LIMIT
from filer.shell.line.completion import Completion, completions
from filer.shell.line.grammar import Grammar
from filer.shell.line.paths import host_paths
from filer.shell.line.synopsis import Kind
from filer.shell.plugins import commands_at_loader, commands_in_maintenance
from tests.kit import manual
from tests.kit.house import House
from tests.kit.manual import Build

build = manual.build


@pytest.fixture
def many_disks(tmp_path: Path) -> Iterator[House]:
    with House.build(tmp_path / "root", disks=120) as house:
        yield house


def test_many_words_with_dots_are_completed_from_dot_to_dot(many_disks: House) -> None:
    def offered(line: str) -> list[Completion]:
        return list(completions(many_disks.session, line))

    shelves = offered("disk encrypt show 0c.")
    assert [each.text for each in shelves] == [f"0c.{shelf:02}." for shelf in range(5)]
    assert not any(each.whole for each in shelves)

    bays = offered("disk encrypt show 0c.03.")
    assert [each.text for each in bays] == [f"0c.03.{bay}" for bay in range(24)]
    assert all(each.whole for each in bays)
    assert {each.start for each in shelves + bays} == {len("disk encrypt show ")}

    (prefix,) = offered("disk encrypt show ")
    assert (prefix.text, prefix.whole) == ("0c.", False)
    assert prefix.help == "120 to choose from"
    assert {each.help for each in shelves} == {"24 to choose from"}


# Candidates and their descriptions.


@pytest.fixture
def house(build: Build) -> House:
    house = build()
    house.good("key_manager add -key_server 127.0.0.2 -key_server 127.0.0.3")
    house.good("key_manager rekey -key_tag weekly")
    return house


def offered(house: House, line: str) -> dict[str, str]:
    return {each.text: each.help for each in completions(house.session, line, host_paths)}


def test_commands_have_their_summary(house: House) -> None:
    commands = house.session.commands

    assert offered(house, "") == {name: command.summary for name, command in commands.items()}
    assert offered(house, "hostn") == {"hostname": commands["hostname"].summary}
    assert offered(house, "help ") == offered(house, "? ") == offered(house, "")
    assert offered(house, "hostname; help hostn") == offered(house, "hostn")


def test_pages_have_their_summary(house: House) -> None:
    pages = offered(house, "man ")

    assert pages["key_manager"] == pages["na_key_manager"]
    assert pages["filer"] == "the console of a storage system with self-encrypting disks"


def test_subcommands_and_options_have_a_word_of_help(house: House) -> None:
    assert offered(house, "key_manager re") == {
        "remove": "remove key servers from the system",
        "rekey": "create a key pair, and change the key of every disk to it",
        "restore": "load the key pairs that the key servers hold",
    }
    assert offered(house, "key_manager rekey -k") == {
        "-key_tag": "the text that goes with the new key ID"
    }
    assert offered(house, "key_manager restore -all ") == {
        "-key_tag": "only the key pairs with this key tag"
    }


def test_without_a_word_of_help_they_have_what_follows_them(house: House) -> None:
    key_manager = house.session.commands["key_manager"]
    bare = [each._replace(help="", options={}) for each in key_manager.subcommands]
    house.session.commands = {"key_manager": Command("key_manager", "", *bare)}

    assert offered(house, "key_manager ") == {
        "setup": "",
        "add": "-key_server",
        "remove": "-key_server",
        "show": "",
        "status": "-key_server",
        "query": "-key_server",
        "rekey": "-manual | -key_tag",
        "restore": "-all | -key_tag | -key_server",
    }
    assert offered(house, "key_manager rekey ") == {"-manual": "", "-key_tag": "tag"}
    assert offered(house, "key_manager status -k") == {"-key_server": "ipaddr"}


VALUE = "0"


def positions(grammar: Grammar, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield ``words``, and every longer line with at most one value."""
    yield words
    for following in grammar.expected(words):
        if following.kind is Kind.VARIABLE and VALUE not in words:
            yield from positions(grammar, (*words, VALUE))
        elif following.kind not in (Kind.VARIABLE, Kind.END):
            yield from positions(grammar, (*words, following.name))


@pytest.mark.parametrize("mode", ["console", "maintenance", "LOADER"])
def test_no_entry_is_without_a_word_of_help(house: House, mode: str) -> None:
    match mode:
        case "maintenance":
            house.session.commands = commands_in_maintenance()
        case "LOADER":
            house.session.commands = commands_at_loader()
    for name, command in house.session.commands.items():
        beginnings = list(positions(house.session.grammar(name), (name,)))
        for words in beginnings:
            assert all(offered(house, f"{' '.join(words)} ").values()), words
        for subcommand in command.subcommands:
            own = {word for line in subcommand.usage for word in line.split()}
            assert set(subcommand.options) <= own
        assert set(command.groups) <= {" ".join(words[1:]) for words in beginnings}


def test_addresses_show_their_last_known_state(house: House) -> None:
    house.servers[1].stop()
    house.execute("key_manager status")

    assert offered(house, "key_manager query -key_server ") == {
        "127.0.0.2": "registered, up",
        "127.0.0.3": "registered, not responding",
    }
    house.filer.last_heard.clear()
    assert set(offered(house, "key_manager query -key_server ").values()) == {"registered"}


def test_tags_tell_where_they_are_from(house: House) -> None:
    assert offered(house, "key_manager rekey -key_tag ") == {
        house.filer.key_tag: "default key tag",
        "weekly": "in the keytable",
    }


def test_key_ids_have_their_tags(house: House) -> None:
    (entry,) = house.filer.keytable

    assert offered(house, "disk encrypt rekey ") == {
        "0x0": "the factory key",
        entry.key_id: "weekly",
    }


def test_disks_have_their_state(house: House) -> None:
    (entry,) = house.filer.keytable
    house.good(f"disk encrypt rekey {entry.key_id} 0c.00.1")
    house.good("disk encrypt lock 0c.00.1")
    house.filer.shelf["0c.00.3"].destroy()
    house.filer.shelf["0c.00.0"]._powered.write_record(failures=LOCKOUT_LIMIT)

    assert offered(house, "disk encrypt show 0") == {
        "0c.00.0": "locked out",
        "0c.00.1": "locked",
        "0c.00.2": "not locked",
        "0c.00.3": "destroyed",
    }


def test_installed_files_tell_whether_they_are_registered(house: House) -> None:
    house.good("key_manager remove -key_server 127.0.0.3")
    names = offered(house, "keymgr delete cert ")

    assert names["client.pem"] == names["127.0.0.2_CA.pem"] == "installed and registered"
    assert names["127.0.0.3_CA.pem"] == "installed"


def test_paths_of_the_host_lead_to_certificate_files(house: House, tmp_path: Path) -> None:
    there = tmp_path / "with blanks"
    (there / "certs").mkdir(parents=True)
    for name in ("client.pem", "::1_CA.pem", "other.pem", "notes"):
        (there / name).touch()
    line = "keymgr install cert "

    assert offered(house, f"{line}{tmp_path}/with") == {f"'{there}/'": "directory"}
    assert offered(house, f"{line}'{there}/") == {
        f"'{there}/certs/'": "directory",
        f"'{there}/client.pem'": "certificate file",
        f"'{there}/::1_CA.pem'": "certificate file",
    }
    assert offered(house, f"{line}/mroot/") == {}
    assert list(completions(house.session, f"{line}{tmp_path}/")) == []


def test_what_a_line_cannot_hold_is_not_offered(house: House, tmp_path: Path) -> None:
    (tmp_path / "x\ny").mkdir()
    (tmp_path / "x\x1by").mkdir()

    assert offered(house, f"keymgr install cert {tmp_path}/x") == {}


def test_the_commands_of_the_advanced_privilege_are_offered_to_it_only(house: House) -> None:
    hidden = Command("hidden", "", Subcommand("hidden", lambda call: None), privilege="advanced")
    house.session.commands = {**house.session.commands, "hidden": hidden}

    assert offered(house, "hid") == offered(house, "help hid") == {}
    for privilege in ("advanced", "diag"):
        house.good(f"priv set {privilege}")
        assert set(offered(house, "hid")) == set(offered(house, "help hid")) == {"hidden"}


def test_the_commands_of_the_diagnostic_privilege_are_offered_to_it_only(house: House) -> None:
    hidden = Command("hidden", "", Subcommand("hidden", lambda call: None), privilege="diag")
    house.session.commands = {**house.session.commands, "hidden": hidden}

    for privilege, expected in (("admin", set()), ("advanced", set()), ("diag", {"hidden"})):
        house.good(f"priv set {privilege}")
        assert set(offered(house, "hid")) == expected
