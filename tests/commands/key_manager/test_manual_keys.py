"""man key_manager: query, rekey, restore, and KEYTABLE."""

import re
from typing import Any

import pytest

from filer.commands import Cancelled, EndOfAnswers
from filer.keys.pair import KeyPair
from filer.keyserver.server import KeyServer
from tests.kit import manual
from tests.kit.console import OTHER_PASSPHRASE, PASSPHRASE
from tests.kit.house import PARTNER_ID, SYSTEM_ID, House
from tests.kit.manual import (
    ACCEPTED,
    ENTER,
    GENERATED,
    HINT,
    REENTER,
    Build,
    completed,
    created,
    query_block,
    query_line,
)
from tests.kit.pairs import (
    PARENT_TAG,
    client_of,
    lose,
    lose_everywhere,
    new_pair,
    pairs_on,
    put,
    pykmip,
)

build, house = manual.build, manual.house

BAD_TAG = "key_manager: a key tag has 1 to 64 printable ASCII characters without blanks\n"
TWO = ("127.0.0.2", "127.0.0.3")


def ordered(*pairs: KeyPair) -> list[KeyPair]:
    return sorted(pairs, key=lambda pair: (pair.tag, pair.key_id))


def read(address: str, count: int) -> str:
    return f"Key server {address}: {count} key pairs read.\n"


def keytable(total: int, added: int = 0, removed: int = 0) -> str:
    return f"Keytable: {total} key pairs, {added} added, {removed} removed.\n"


def not_responding(address: str) -> str:
    return f"Key server {address} is not responding: connection refused.\n"


# query


def test_query_shows_the_key_ids_of_all_key_servers_with_their_tags(house: House) -> None:
    house.add()
    first, second = new_pair("alpha"), new_pair("beta")
    put(house.servers[0], second, first)
    put(house.servers[1], second)
    house.good("key_manager restore -all")
    assert house.good("key_manager query") == (
        query_block(
            "127.0.0.2", query_line("alpha", first.key_id), query_line("beta", second.key_id)
        )
        + "\n"
        + query_block("127.0.0.3", query_line("beta", second.key_id))
    )


def test_query_sorts_by_tag_then_key_id(house: House) -> None:
    house.add(house.servers[0])
    pairs = [new_pair(tag) for tag in ("b", "a", "b", "a", "c")]
    put(house.servers[0], *pairs)
    house.good("key_manager restore -all")
    assert house.good("key_manager query") == query_block(
        "127.0.0.2", *(query_line(pair.tag, pair.key_id) for pair in ordered(*pairs))
    )


def test_query_of_the_key_servers_named(house: House) -> None:
    house.add()
    put(house.servers[0], new_pair())
    assert house.good("key_manager query -key_server 127.0.0.3") == query_block("127.0.0.3")


def test_query_marks_key_ids_that_are_not_in_the_keytable(house: House) -> None:
    house.add()
    house.good("key_manager rekey -key_tag known")
    pair = new_pair("new")
    put(house.servers[1], pair)
    known = query_line("known", house.key_id())
    assert house.good("key_manager query") == (
        query_block("127.0.0.2", known)
        + "\n"
        + query_block("127.0.0.3", known, query_line("new", pair.key_id, "*"))
        + HINT
    )


def test_restore_clears_the_marks_of_query(house: House) -> None:
    house.add(house.servers[0])
    pair = new_pair("new")
    put(house.servers[0], pair)
    marked = house.good("key_manager query")
    assert marked == query_block("127.0.0.2", query_line("new", pair.key_id, "*")) + HINT
    house.good("key_manager restore -key_server 127.0.0.2")
    assert house.good("key_manager query") == query_block(
        "127.0.0.2", query_line("new", pair.key_id)
    )


@pytest.mark.parametrize("length", [31, 32, 64])
def test_query_never_cuts_a_tag(length: int, house: House) -> None:
    house.add(house.servers[0])
    pair = new_pair("t" * length)
    put(house.servers[0], pair)
    last_but_one = house.good("key_manager query").splitlines()[-2]
    assert last_but_one == f"{'t' * length} *{pair.key_id}"


def test_query_shows_a_key_server_without_keys(house: House) -> None:
    house.add()
    assert house.good("key_manager query") == (
        "Key server 127.0.0.2 reports 0 keys.\n\nKey server 127.0.0.3 reports 0 keys.\n"
    )


def test_query_fails_if_a_key_server_does_not_answer(house: House) -> None:
    house.add()
    house.good("key_manager rekey -key_tag known")
    house.servers[0].stop()
    status, out, err = house.execute("key_manager query")
    assert (status, err) == (1, not_responding("127.0.0.2"))
    assert out.lstrip("\n") == query_block("127.0.0.3", query_line("known", house.key_id()))


def test_query_shows_what_the_key_servers_hold_not_the_keytable(house: House) -> None:
    house.add()
    house.good("key_manager rekey")
    lose_everywhere(house)
    assert len(house.in_keytable()) == 1
    assert house.good("key_manager query -key_server 127.0.0.2") == query_block("127.0.0.2")


def test_query_shows_the_keys_of_other_systems_too(house: House) -> None:
    house.add(house.servers[0])
    pair = new_pair("theirs", system_id=7)
    put(house.servers[0], pair)
    shown = query_block("127.0.0.2", query_line("theirs", pair.key_id, "*"))
    assert house.good("key_manager query").startswith(shown)


# rekey


def test_rekey_makes_a_key_pair_and_rekeys_all_disks(house: House) -> None:
    house.add()
    printed = house.good("key_manager rekey -key_tag lab")
    key_id = house.key_id()
    assert printed == created(GENERATED, key_id, "lab", *TWO) + completed("rekey", 4)
    assert set(house.key_ids) == {key_id}
    again = house.good("key_manager rekey -key_tag lab")
    assert house.key_id() != key_id
    assert again == created(GENERATED, house.key_id(), "lab", *TWO) + completed("rekey", 4)


def test_rekey_does_what_disk_encrypt_rekey_does(house: House) -> None:
    house.add()
    house.good("key_manager rekey")
    key_id = house.key_id()
    house.good("disk encrypt rekey 0x0 *")
    assert house.good(f"disk encrypt rekey {key_id} *") == completed("rekey", 4)
    assert set(house.key_ids) == {key_id}


def test_rekey_does_not_lock(house: House) -> None:
    house.add()
    house.good("key_manager rekey")
    assert not any(disk.locking for disk in house.filer.shelf)


def test_rekey_leaves_locked_disks_locked(house: House) -> None:
    old = house.encrypt()
    house.write("0c.00.3", "still here")
    house.good("key_manager rekey")
    assert old not in set(house.key_ids)
    assert all(disk.locking for disk in house.filer.shelf)
    assert house.reboot() == ""
    assert house.read("0c.00.3") == "still here"


def test_rekey_generates_a_passphrase_of_32_characters(house: House) -> None:
    house.add()
    house.good("key_manager rekey")
    house.good("key_manager rekey")
    first, second = (pair.key.reveal().decode("ascii") for pair in pairs_on(house.servers[0]))
    assert (len(first), len(second)) == (32, 32)
    assert first != second
    assert (first + second).isprintable()


def test_rekey_manual_takes_the_passphrase_from_the_keyboard(house: House) -> None:
    house.add()
    printed = house.good("key_manager rekey -manual -key_tag lab", PASSPHRASE, PASSPHRASE)
    assert printed == (
        f"{ENTER}{REENTER}{created(ACCEPTED, house.key_id(), 'lab', *TWO)}{completed('rekey', 4)}"
    )
    assert len(house.screen.secret_questions) == 2
    for server in house.servers:
        (pair,) = pairs_on(server)
        assert (pair.key_id, pair.key.reveal()) == (house.key_id(), PASSPHRASE.encode())


def test_options_of_rekey_come_in_any_order(house: House) -> None:
    house.add()
    house.good("key_manager rekey -key_tag lab -manual", PASSPHRASE, PASSPHRASE)
    assert pairs_on(house.servers[0])[0].tag == "lab"


RULES = {
    "Too short, 4 chars!": "20 to 32 characters",
    "Too long for a filer, 36 characters!": "20 to 32 characters",
    "": "20 to 32 characters",
    "no upper case at all 1!": "at least one upper-case letter",
    "NO LOWER CASE AT ALL 1!": "at least one lower-case letter",
    "No digits at all, see!!": "at least one digit",
    "NothingButLetters12345": "at least one other character",
    "onlylowercaseletters": "at least one upper-case letter, one digit, one other character",
    "Pass\u00e9 words are no key 1": "only printable ASCII characters",
    "A tab\there is not 1 key!": "only printable ASCII characters",
}


def test_rekey_refuses_a_bad_passphrase_after_three_tries(house: House) -> None:
    house.add()
    for passphrase, lacking in RULES.items():
        status, out, err = house.execute("key_manager rekey -manual", *[passphrase] * 6)
        rule = f"a passphrase must have {lacking}"
        again = f"{ENTER}{REENTER}{rule}; try again.\n"
        assert (status, err) == (1, f"key_manager: {rule}\n")
        assert out == f"{again}{again}{ENTER}{REENTER}", rule
    assert (set(house.key_ids), house.in_keytable(), pairs_on(house.servers[0])) == (
        {"0x0"},
        [],
        [],
    )


def test_the_two_entries_of_a_passphrase_must_agree(house: House) -> None:
    house.add()
    printed = house.good(
        "key_manager rekey -manual", PASSPHRASE, OTHER_PASSPHRASE, PASSPHRASE, PASSPHRASE
    )
    assert printed.startswith(
        f"{ENTER}{REENTER}the passphrases do not match; try again.\n{ENTER}{REENTER}{ACCEPTED}"
    )


@pytest.mark.parametrize("given", [(), (PASSPHRASE,)])
@pytest.mark.parametrize(
    ("end", "said"), [(Cancelled, "interrupted"), (EndOfAnswers, "end of input")]
)
def test_rekey_manual_can_be_left_at_its_questions(
    end: type[Cancelled] | type[EndOfAnswers], said: str, given: tuple[str, ...], house: House
) -> None:
    house.add()
    status, _, err = house.execute("key_manager rekey -manual", *given, end)
    assert (status, err) == (1, f"key_manager: {said}\n")
    assert (set(house.key_ids), pairs_on(house.servers[0])) == ({"0x0"}, [])


@pytest.mark.parametrize(
    ("partner_id", "ids"),
    [
        (SYSTEM_ID - 1, (SYSTEM_ID - 1, SYSTEM_ID)),
        (SYSTEM_ID + 1, (SYSTEM_ID, SYSTEM_ID + 1)),
        (99, (99, SYSTEM_ID)),
        (4000000000, (SYSTEM_ID, 4000000000)),
        (0, (SYSTEM_ID, 0)),
    ],
)
def test_a_key_id_is_made_of_the_system_ids_in_order(
    partner_id: int, ids: tuple[int, int], build: Build
) -> None:
    house = build(1, partner_id=partner_id)
    house.add()
    house.good("key_manager rekey")
    kind = "0101000000000000" if partner_id else "0100000000000000"
    fields = f"{ids[0]:08X}{ids[1]:08X}{kind}"
    assert re.fullmatch(f"{fields}[0-9A-F]{{32}}", house.key_id())


@pytest.mark.parametrize(
    ("partner_id", "tag"),
    [
        (SYSTEM_ID - 1, f"{SYSTEM_ID - 1}-{SYSTEM_ID}"),
        (SYSTEM_ID + 1, f"{SYSTEM_ID}-{SYSTEM_ID + 1}"),
        (99, f"99-{SYSTEM_ID}"),
        (0, f"{SYSTEM_ID}"),
    ],
)
def test_the_parent_tag_is_both_system_ids_in_sort_order(
    partner_id: int, tag: str, build: Build
) -> None:
    house = build(1, partner_id=partner_id)
    house.add()
    printed = house.good("key_manager rekey")
    assert printed.startswith(created(GENERATED, house.key_id(), tag, "127.0.0.2"))
    (pair,) = client_of(house.servers[0]).fetch()
    assert pair.tag == tag


def test_rekey_takes_the_default_tag_before_the_parent_tag(house: House) -> None:
    house.add()
    house.good("key_manager rekey")
    house.good("key_manager setup", "", "", "", "", "no", "lab", "no")
    house.good("key_manager rekey")
    house.good("key_manager rekey -key_tag mine")
    tags = [pair.tag for pair in pairs_on(house.servers[0])]
    assert sorted(tags) == sorted([PARENT_TAG, "lab", "mine"])


def test_a_bad_tag_is_refused(house: House) -> None:
    house.add()
    for command in ("rekey", "restore -all", "restore -key_server 127.0.0.2"):
        for tag in ("'two words'", "t" * 65, "'\t'", "''", "t\u00e4g"):
            line = f"key_manager {command} -key_tag {tag}"
            assert house.bad(line) == BAD_TAG, line
    assert set(house.key_ids) == {"0x0"}


SECRET_TAG = "a key tag is not secret, and this one could be a passphrase; choose another\n"


def test_a_passphrase_is_not_taken_for_the_tag_of_a_new_key(house: House) -> None:
    house.add()
    refused = house.bad(f"key_manager rekey -key_tag {PASSPHRASE}")
    assert refused == f"key_manager: {SECRET_TAG}"
    assert set(house.key_ids) == {"0x0"}


def test_setup_does_not_take_a_passphrase_for_the_tag(house: House) -> None:
    house.add()
    said = house.good("key_manager setup", "", "", "", "", "no", PASSPHRASE, "lab", "no")
    assert said.count(SECRET_TAG) == 1
    house.good("key_manager rekey")
    assert [pair.tag for pair in pairs_on(house.servers[0])] == ["lab"]


def test_restore_takes_a_tag_like_a_passphrase_since_keys_may_have_it(house: House) -> None:
    house.add()
    pair = new_pair(PASSPHRASE)
    put(house.servers[0], pair)
    house.good(f"key_manager restore -all -key_tag {PASSPHRASE}")
    assert pair.key_id in house.filer.keytable


@pytest.mark.parametrize("tag", ["filer1", "A948EE8604F4598ADFFB185B5BB7FED3", "lab-2026.site_B"])
def test_an_ordinary_tag_is_taken(tag: str, house: House) -> None:
    house.add()
    house.good(f"key_manager rekey -key_tag {tag}")


def test_a_tag_has_up_to_64_characters(house: House) -> None:
    house.add()
    house.good(f"key_manager rekey -key_tag {'t' * 64}")
    assert pairs_on(house.servers[0])[0].tag == "t" * 64


def test_rekey_stores_the_pair_with_its_tag_on_every_key_server(build: Build) -> None:
    house = build(4)
    house.add()
    house.good("key_manager rekey -key_tag lab")
    stored = [pairs_on(server) for server in house.servers]
    assert all(pairs == stored[0] for pairs in stored)
    assert [(pair.key_id, pair.tag) for pair in stored[0]] == [(house.key_id(), "lab")]


@pytest.mark.parametrize("arguments", ["", " -manual"])
def test_rekey_refuses_early_if_a_key_server_does_not_answer(arguments: str, house: House) -> None:
    house.add()
    house.servers[1].stop()
    assert house.bad(f"key_manager rekey{arguments}") == (
        "key_manager: key server 127.0.0.3 is not responding: connection refused; "
        "no key pair was created\n"
    )
    assert (pairs_on(house.servers[0]), set(house.key_ids), house.in_keytable()) == (
        [],
        {"0x0"},
        [],
    )


def test_a_pair_that_one_key_server_did_not_take_is_taken_back(house: House) -> None:
    house.add()
    when = {"reenter": house.servers[1].stop}
    status, out, err = house.execute("key_manager rekey -manual", PASSPHRASE, PASSPHRASE, when=when)
    assert (status, out) == (1, f"{ENTER}{REENTER}")
    remains, refusal = err.splitlines()
    assert re.fullmatch(
        "key_manager: key ID [0-9A-F]{64} may remain on key server 127.0.0.3: connection refused",
        remains,
    )
    assert refusal == (
        "key_manager: the new key pair could not be stored on 127.0.0.3: connection refused; "
        "nothing was changed"
    )
    assert (pairs_on(house.servers[0]), set(house.key_ids), house.in_keytable()) == (
        [],
        {"0x0"},
        [],
    )


def test_rekey_refuses_while_key_servers_contradict_each_other(house: House) -> None:
    house.add()
    house.good("key_manager rekey")
    key_id = house.key_id()
    lose(house.servers[1])
    put(house.servers[1], new_pair(key_id=key_id))
    assert house.bad("key_manager rekey") == (
        f"key_manager: key servers 127.0.0.2, 127.0.0.3 hold different keys for key ID {key_id}; "
        "no key pair was created\n"
    )
    assert set(house.key_ids) == {key_id}


def test_rekey_leaves_a_disk_whose_key_is_unknown(house: House) -> None:
    house.add()
    house.good("key_manager rekey")
    old = house.key_id()
    house.good("disk encrypt rekey 0x0 0c.00.0 0c.00.1 0c.00.2")
    lose_everywhere(house)
    house.reboot()
    status, out, err = house.execute("key_manager rekey -key_tag lab")
    key_id = house.key_id()
    assert status == 1
    assert err == f"0c.00.3: its key ID {old} is not in the keytable\n"
    assert out == (
        created(GENERATED, key_id, "lab", *TWO) + completed("rekey", 4, failures=1, unknown=1)
    )
    assert (house.key_id("0c.00.3"), house.filer.shelf["0c.00.3"].failures) == (old, 0)


def test_the_authentication_key_is_never_shown(house: House) -> None:
    house.add()
    printed = house.good("key_manager rekey")
    (pair,) = pairs_on(house.servers[0])
    for line in ("query", "restore -all", "status", "show"):
        printed += house.good(f"key_manager {line}")
    printed += house.good("rdfile /etc/messages") + house.good("disk encrypt show")
    assert pair.key.reveal().decode() not in printed
    assert pair.key_id in printed


# restore


def test_restore_all_builds_a_new_keytable_from_all_key_servers(house: House) -> None:
    house.add()
    deleted, first, second, both = (new_pair() for _ in range(4))
    put(house.servers[0], deleted)
    house.good("key_manager restore -all")
    lose(house.servers[0])
    put(house.servers[0], first, both)
    put(house.servers[1], second, both)
    assert house.good("key_manager restore -all") == (
        read("127.0.0.2", 2) + read("127.0.0.3", 2) + keytable(3, 3, 1)
    )
    assert house.in_keytable() == sorted(pair.key_id for pair in (first, second, both))


def test_restore_of_one_key_server_removes_nothing(house: House) -> None:
    house.add()
    deleted, new, elsewhere = (new_pair() for _ in range(3))
    put(house.servers[0], deleted)
    house.good("key_manager restore -all")
    lose(house.servers[0])
    put(house.servers[0], new)
    put(house.servers[1], elsewhere)
    assert house.good("key_manager restore -key_server 127.0.0.2") == (
        read("127.0.0.2", 1) + keytable(2, 1, 0)
    )
    assert house.in_keytable() == sorted([deleted.key_id, new.key_id])


def test_only_restore_all_and_reboot_remove_deleted_keys(house: House) -> None:
    house.add()
    put(house.servers[0], new_pair())
    house.good("key_manager restore -all")
    lose(house.servers[0])
    for command in ("query", "status", "show", "restore -key_server 127.0.0.2"):
        house.good(f"key_manager {command}")
        assert len(house.in_keytable()) == 1
    house.reboot()
    assert house.in_keytable() == []


def test_restore_all_takes_only_the_tag_that_is_named(house: House) -> None:
    house.add()
    mine, other, gone = new_pair("mine"), new_pair("other"), new_pair("mine")
    put(house.servers[0], mine, other)
    put(house.servers[1], mine, gone)
    house.good("key_manager restore -all")
    lose(house.servers[1], gone)
    assert house.good("key_manager restore -all -key_tag mine") == (
        read("127.0.0.2", 1) + read("127.0.0.3", 1) + keytable(1, 0, 2)
    )
    assert house.in_keytable() == [mine.key_id]


def test_restore_all_of_a_tag_keeps_the_keys_in_use(house: House) -> None:
    house.add()
    house.good("key_manager rekey -key_tag used")
    put(house.servers[0], new_pair("other"))
    house.good("key_manager restore -all")
    assert house.good("key_manager restore -all -key_tag nothing") == (
        read("127.0.0.2", 0) + read("127.0.0.3", 0) + keytable(1, 0, 1)
    )
    assert house.in_keytable() == [house.key_id()]


def test_restore_of_one_key_server_takes_only_the_tag_that_is_named(house: House) -> None:
    house.add()
    mine, other = new_pair("mine"), new_pair("other")
    put(house.servers[0], mine, other)
    assert house.good("key_manager restore -key_tag mine -key_server 127.0.0.2") == (
        read("127.0.0.2", 1) + keytable(1, 1)
    )
    assert house.in_keytable() == [mine.key_id]


def test_restore_takes_the_tag_exactly(house: House) -> None:
    house.add(house.servers[0])
    put(house.servers[0], new_pair("min"), new_pair("mine"), new_pair("MINE"))
    assert house.good("key_manager restore -all -key_tag mine") == (
        read("127.0.0.2", 1) + keytable(1, 1)
    )


def test_restore_all_with_a_key_server_down_removes_nothing_and_fails(house: House) -> None:
    house.add()
    deleted, new = new_pair(), new_pair()
    put(house.servers[0], deleted)
    house.good("key_manager restore -all")
    lose(house.servers[0])
    put(house.servers[0], new)
    house.servers[1].stop()
    assert house.execute("key_manager restore -all") == (
        1,
        read("127.0.0.2", 1) + keytable(2, 1, 0),
        not_responding("127.0.0.3")
        + "key_manager: not every key server answered; no key pairs were removed\n",
    )
    assert house.in_keytable() == sorted([deleted.key_id, new.key_id])


def test_restore_of_a_key_server_that_is_down_fails(house: House) -> None:
    house.add()
    house.servers[1].stop()
    assert house.bad("key_manager restore -key_server 127.0.0.3") == not_responding("127.0.0.3")


def test_restore_all_keeps_a_key_that_a_disk_uses(house: House) -> None:
    house.add()
    house.good("key_manager rekey")
    key_id = house.key_id()
    house.good("disk encrypt rekey 0x0 0c.00.1")
    lose_everywhere(house)
    assert house.execute("key_manager restore -all") == (
        1,
        read("127.0.0.2", 0) + read("127.0.0.3", 0) + keytable(1),
        f'kept: {key_id}, in use by 3 disks, on no key server; run "key_manager rekey"\n',
    )
    assert house.in_keytable() == [key_id]
    house.good("key_manager rekey")
    assert house.good("key_manager restore -all").endswith(keytable(1, 0, 1))


def test_restore_loads_the_keys_of_other_systems_too(house: House) -> None:
    house.add(house.servers[0])
    put(house.servers[0], new_pair(), new_pair(system_id=7))
    assert house.good("key_manager restore -all") == read("127.0.0.2", 2) + keytable(2, 2)


def test_a_pair_that_is_twice_on_a_key_server_counts_once(house: House) -> None:
    house.add(house.servers[0])
    pair = new_pair("lab")
    put(house.servers[0], pair)
    put(house.servers[0], pair)
    assert house.good("key_manager restore -all") == read("127.0.0.2", 1) + keytable(1, 1)
    assert house.good("key_manager query") == query_block(
        "127.0.0.2", query_line("lab", pair.key_id)
    )


def test_restore_takes_either_all_or_one_key_server(house: House) -> None:
    house.add()
    for words, wrong in {
        "restore": "incomplete; expected -all or -key_server",
        "restore -key_tag x": "",
        "restore -all -key_server 127.0.0.2": "",
        "restore -key_server 127.0.0.2 -key_server 127.0.0.3": "",
    }.items():
        first, *usage = house.bad(f"key_manager {words}").splitlines()
        assert first.startswith(f"key_manager: {wrong}"), words
        assert {line.split()[0] for line in usage} == {"usage:"}, words
        assert all(" restore " in line for line in usage), words


def test_restore_names_key_servers_that_contradict_each_other(house: House) -> None:
    house.add()
    house.good("key_manager rekey")
    house.good("disk encrypt lock *")
    key_id = house.key_id()
    lose(house.servers[1])
    put(house.servers[1], new_pair(key_id=key_id))
    assert house.execute("key_manager restore -all") == (
        0,
        read("127.0.0.2", 1) + read("127.0.0.3", 1) + keytable(1),
        f"WARNING: key servers 127.0.0.2, 127.0.0.3 hold different keys for key ID {key_id}.\n",
    )
    assert house.good("disk encrypt rekey 0x0 *") == completed("rekey", 4)


# KEYTABLE


def test_kmip_init_fills_the_keytable_from_all_key_servers(house: House) -> None:
    house.add()
    first, second = new_pair(), new_pair()
    put(house.servers[0], first)
    put(house.servers[1], second)
    assert house.reboot() == ""
    assert house.in_keytable() == sorted([first.key_id, second.key_id])


def test_the_keytable_is_gone_without_power(house: House) -> None:
    key_id = house.encrypt()
    off = house.power_off()
    assert len(off.keytable) == 0
    assert house.reboot() == ""
    assert house.in_keytable() == [key_id]


def test_the_keytable_is_in_main_memory_only(house: House) -> None:
    house.encrypt()
    (pair,) = pairs_on(house.servers[0])
    secret = pair.key.reveal()
    files = [path for path in house.root.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if secret in path.read_bytes()] == []


def test_disks_are_opened_at_boot_with_the_keys_of_kmip_init(house: House) -> None:
    house.encrypt()
    house.write("0c.00.3", "data")
    assert house.reboot() == ""
    assert house.read("0c.00.3") == "data"
    assert not any(disk.locked for disk in house.filer.shelf)


def test_only_the_keytable_is_consulted_for_the_key_of_a_disk(house: House) -> None:
    house.add()
    pair = new_pair()
    put(house.servers[0], pair)
    status, out, _ = house.execute(f"disk encrypt rekey {pair.key_id} *")
    assert (status, out) == (1, completed("rekey", 4, failures=4, unknown=4))
    house.good("key_manager restore -key_server 127.0.0.2")
    assert house.good(f"disk encrypt rekey {pair.key_id} *") == completed("rekey", 4)
    house.servers[0].stop()
    house.servers[1].stop()
    assert house.good("disk encrypt rekey 0x0 *") == completed("rekey", 4)


def test_rekey_loads_the_new_pair_into_the_keytable(house: House) -> None:
    house.add()
    house.good("key_manager rekey")
    assert house.in_keytable() == [house.key_id()]
    assert "*" not in house.good("key_manager query")


def test_the_keytable_has_no_duplicate_key_ids(house: House) -> None:
    house.add()
    house.good("key_manager rekey")
    (pair,) = pairs_on(house.servers[0])
    put(house.servers[0], pair)
    assert house.good("key_manager restore -all").endswith(keytable(1))
    house.good("key_manager restore -key_server 127.0.0.3")
    assert house.in_keytable() == [pair.key_id]
    house.reboot()
    assert house.in_keytable() == [pair.key_id]


def test_the_partner_of_an_ha_pair_reads_the_same_keys(house: House) -> None:
    house.add()
    house.good("key_manager rekey -key_tag lab")
    root = house.root.parent / "partner"
    ids: dict[str, Any] = {"system_id": PARTNER_ID, "partner_id": SYSTEM_ID}
    with House.build(root, house.servers, **ids) as partner:
        partner.add()
        assert partner.good("key_manager restore -all") == (
            read("127.0.0.2", 1) + read("127.0.0.3", 1) + keytable(1, 1)
        )
        assert partner.in_keytable() == house.in_keytable()


def test_of_contradicting_key_servers_a_disk_tries_one_key_a_boot(house: House) -> None:
    key_id = house.encrypt()
    house.write("0c.00.3", "data")
    lose(house.servers[0])
    put(house.servers[0], new_pair(key_id=key_id))
    warnings = house.reboot()
    assert "key server 127.0.0.2 holds another key" in warnings
    assert house.failures == [0, 0, 0, 1]
    assert "stay locked" not in house.reboot()
    assert house.read("0c.00.3") == "data"
    assert house.failures == [0] * 4


# On the key servers.


def objects_of(server: KeyServer) -> list[tuple[dict[str, Any], Any]]:
    """Return the attributes and the value of every object on a key server."""
    with pykmip(server) as client:
        found = []
        for identifier in client.locate():
            _, attributes = client.get_attributes(identifier)
            named = {each.attribute_name.value: each.attribute_value for each in attributes}
            found.append((named, client.get(identifier)))
        return found


def test_a_key_pair_is_one_active_secret_data_object(house: House) -> None:
    from kmip.core import enums

    house.add()
    house.good("key_manager rekey -manual -key_tag lab", PASSPHRASE, PASSPHRASE)
    for server in house.servers:
        ((attributes, secret),) = objects_of(server)
        assert secret.object_type is enums.ObjectType.SECRET_DATA
        assert secret.data_type is enums.SecretDataType.PASSWORD
        assert secret.value == PASSPHRASE.encode()
        mask = attributes["Cryptographic Usage Mask"]
        assert mask.value == enums.CryptographicUsageMask.EXPORT.value
        assert attributes["State"].value is enums.State.ACTIVE


def test_name_group_and_application_information_tell_the_key(house: House) -> None:
    house.add()
    house.good("key_manager rekey -key_tag lab")
    for server in house.servers:
        ((attributes, _),) = objects_of(server)
        name = attributes["Name"]
        assert name.name_value.value == house.key_id()
        assert name.name_type.value.name == "UNINTERPRETED_TEXT_STRING"
        assert attributes["Object Group"].value == "lab"
        information = attributes["Application Specific Information"]
        assert information.application_namespace == "filer"
        assert information.application_data == PARENT_TAG
