"""man key_manager, setup: the dialogue, statement by statement."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from filer.commands import Cancelled, EndOfAnswers
from filer.running.parallel import WORKERS
from filer.running.progress import Steps, Tell, Work
from tests.kit import manual
from tests.kit.console import OTHER_PASSPHRASE, PASSPHRASE
from tests.kit.house import House, Outcome
from tests.kit.manual import (
    ACCEPTED,
    CLIENT_FILES,
    ENTER,
    GENERATED,
    REENTER,
    Build,
    completed,
    created,
    registering,
)
from tests.kit.pairs import lose, lose_everywhere, new_pair, pairs_on, put

build, house = manual.build, manual.house

SERVER = "Enter the IP address for a key server, 'q' to quit: "
TAG_INTRODUCTION = "\nA key tag names the keys of this system; the hostname is the usual choice.\n"
CREATE = "\nCreate a passphrase for the system's encrypting drives at this time? {yes} "
GENERATE = "Would you like to use a generated passphrase? {yes} "
LOCK = "\nDo you wish to rekey and lock all encrypting drives at this time? {no} "
INTERRUPTED = "key_manager: interrupted\n"
END_OF_INPUT = "key_manager: end of input\n"

NO_KEYS = ("", "", "no")
"""The default port, the default tag, no passphrase."""
TWO = ("127.0.0.2", "127.0.0.3", "q")


def default_server(address: str) -> str:
    return f"Enter the IP address for a key server, 'q' to quit [{address}]: "


def port(number: int) -> str:
    return f"Enter the TCP port number for kmip server [{number}]: "


def tag_question(tag: str = "filer1") -> str:
    return f"{TAG_INTRODUCTION}Would you like to use {tag} as the default key tag name? {{yes}} "


def setup_two(house: House) -> None:
    """Register both key servers with the default tag filer1, without a key pair."""
    house.good("key_manager setup", *TWO, *NO_KEYS)


def test_setup_asks_for_everything_makes_a_key_pair_and_encrypts_all_disks(build: Build) -> None:
    house = build(1)
    printed = house.good("key_manager setup", "127.0.0.2", "q", "", "", "", "", "yes")
    key_id = house.key_id()
    assert printed == (
        f"{CLIENT_FILES}"
        f"{SERVER}127.0.0.2\n"
        f"{SERVER}q\n"
        f"{port(house.servers[0].port)}\n"
        f"{tag_question()}\n"
        f"\n{registering('127.0.0.2')}"
        f"{CREATE}\n"
        f"{GENERATE}\n"
        f"\n{created(GENERATED, key_id, 'filer1', '127.0.0.2')}"
        f"{LOCK}yes\n"
        f"{completed('rekey', 4)}"
        f"{completed('lock', 4)}"
    )
    assert set(house.key_ids) == {key_id}
    assert all(disk.locking for disk in house.filer.shelf)


def test_setup_registers_the_client_files_before_any_question(house: House) -> None:
    assert house.execute("key_manager setup", EndOfAnswers) == (1, CLIENT_FILES, END_OF_INPUT)
    assert house.registered_files() == ["client.pem", "client_private.pem"]


def test_setup_does_not_register_equal_client_files_again(house: House) -> None:
    house.execute("key_manager setup", EndOfAnswers)
    assert house.execute("key_manager setup", EndOfAnswers) == (1, "", END_OF_INPUT)


@pytest.mark.parametrize("missing", ["client.pem", "client_private.pem"])
def test_setup_asks_nothing_before_the_client_files_are_installed(
    missing: str, house: House
) -> None:
    house.good(f"keymgr delete cert {missing}")
    assert house.bad("key_manager setup") == (
        f'key_manager: {missing} is not installed; use "keymgr install cert /path/{missing}"\n'
    )
    assert house.registered_files() == []


def test_setup_registers_at_most_four_key_servers(build: Build) -> None:
    house = build(4)
    addresses = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"]
    printed = house.good("key_manager setup", *addresses, *NO_KEYS)
    asked = "".join(f"{SERVER}{address}\n" for address in addresses)
    assert printed.startswith(f"{CLIENT_FILES}{asked}{port(house.filer.port)}")
    assert registering(*addresses) in printed
    assert house.registered.servers == tuple(addresses)


def test_setup_offers_the_previously_added_key_servers_in_order(house: House) -> None:
    house.add(*reversed(house.servers))
    printed = house.good("key_manager setup", "", "", "", *NO_KEYS)
    assert printed.startswith(
        f"{default_server('127.0.0.3')}\n{default_server('127.0.0.2')}\n{SERVER}\n"
    )
    assert house.registered.servers == ("127.0.0.3", "127.0.0.2")


def test_setup_wants_at_least_one_key_server(house: House) -> None:
    printed = house.good("key_manager setup", "q", "", "127.0.0.2", "q", *NO_KEYS)
    refusal = "At least one key server must be defined.\n"
    assert printed.startswith(
        f"{CLIENT_FILES}{SERVER}q\n{refusal}{SERVER}\n{refusal}{SERVER}127.0.0.2\n{SERVER}q\n"
    )


def test_setup_explains_that_key_servers_cannot_be_named_by_dns(house: House) -> None:
    printed = house.good("key_manager setup", "keys.example.com", *TWO, *NO_KEYS)
    assert (
        f"{SERVER}keys.example.com\n"
        '"keys.example.com" is not an IP address; key servers cannot be named by DNS\n'
        f"{SERVER}127.0.0.2\n"
    ) in printed


def test_setup_counts_the_same_key_server_once(house: House) -> None:
    printed = house.good("key_manager setup", "127.0.0.2", "127.0.0.2", "q", *NO_KEYS)
    assert registering("127.0.0.2") in printed
    assert house.registered.servers == ("127.0.0.2",)


def test_all_key_servers_use_the_port_that_setup_asked_for(build: Build) -> None:
    house = build(2, port=1)
    right = str(house.servers[0].port)
    printed = house.good("key_manager setup", *TWO, "0", "65536", "x", right, "", "no")
    wrong = "A TCP port number is 1 to 65535.\n"
    assert "".join(f"{port(1)}{answer}\n{wrong}" for answer in ("0", "65536", "x")) in printed
    assert house.good("key_manager status") == (
        "Key server 127.0.0.2 is responding.\nKey server 127.0.0.3 is responding.\n"
    )


def test_setup_offers_the_registered_port_again(build: Build) -> None:
    house = build(2, port=1)
    right = house.servers[0].port
    house.good("key_manager setup", *TWO, str(right), "", "no")
    assert f"{port(right)}\n" in house.good("key_manager setup", "", "", "", *NO_KEYS)


def test_setup_asks_for_the_default_key_tag(house: House) -> None:
    printed = house.good("key_manager setup", *TWO, "", "no", "two words", "lab", "", "", "")
    assert (
        f"{tag_question()}no\n"
        "Enter the default key tag name: two words\n"
        "a key tag has 1 to 64 printable ASCII characters without blanks\n"
        "Enter the default key tag name: lab\n"
    ) in printed
    (pair,) = pairs_on(house.servers[0])
    assert created(GENERATED, pair.key_id, "lab", "127.0.0.2", "127.0.0.3") in printed
    assert pair.tag == "lab"


def test_setup_offers_the_default_key_tag_again(house: House) -> None:
    house.good("key_manager setup", *TWO, "", "no", "lab", "no")
    printed = house.good("key_manager setup", "", "", "", *NO_KEYS)
    assert f"{tag_question('lab')}\n" in printed
    assert house.registered.default_tag == "lab"


def test_the_key_tag_of_setup_groups_keys_for_restore(house: House) -> None:
    house.good("key_manager setup", *TWO, "", "no", "lab", "", "", "")
    put(house.servers[0], new_pair("other"))
    assert house.good("key_manager restore -all -key_tag lab") == (
        "Key server 127.0.0.2: 1 key pairs read.\n"
        "Key server 127.0.0.3: 1 key pairs read.\n"
        "Keytable: 1 key pairs, 0 added, 0 removed.\n"
    )


def test_setup_registers_a_ca_file_only_if_necessary(house: House) -> None:
    setup_two(house)
    printed = house.good("key_manager setup", "", "", "", *NO_KEYS)
    assert registering(count=2) in printed


def test_setup_registers_a_ca_file_that_has_changed(house: House) -> None:
    setup_two(house)
    path = house.root / "mroot" / "etc" / "keymgr" / "cert" / "127.0.0.3_CA.pem"
    path.write_bytes(path.read_bytes() * 2)
    printed = house.good("key_manager setup", "", "", "", *NO_KEYS)
    assert registering("127.0.0.3", count=2) in printed


def test_setup_refuses_a_ca_file_that_is_not_installed(house: House) -> None:
    house.good("keymgr delete cert 127.0.0.3_CA.pem")
    status, _, err = house.execute("key_manager setup", *TWO, "", "")
    assert (status, err) == (
        1,
        "key_manager: 127.0.0.3_CA.pem is not installed; "
        'use "keymgr install cert /path/127.0.0.3_CA.pem"\n',
    )
    assert house.registered.servers == ()
    assert house.registered_files() == ["client.pem", "client_private.pem"]


def test_setup_takes_a_passphrase_by_hand(house: House) -> None:
    printed = house.good("key_manager setup", *TWO, "", "", "", "no", PASSPHRASE, PASSPHRASE, "no")
    (pair,) = pairs_on(house.servers[1])
    block = created(ACCEPTED, pair.key_id, "filer1", "127.0.0.2", "127.0.0.3")
    assert f"{CREATE}\n{GENERATE}no\n\n{ENTER}{REENTER}{block}{LOCK}no\n" in printed
    assert pair.key.reveal() == PASSPHRASE.encode()
    assert [question.split()[1] for question in house.screen.secret_questions] == [
        "enter",
        "reenter",
    ]


def test_setup_ends_with_success_without_a_passphrase(house: House) -> None:
    printed = house.good("key_manager setup", *TWO, *NO_KEYS)
    assert printed.endswith(f"Registration complete.\n{CREATE}no\n")
    assert pairs_on(house.servers[0]) == []
    assert set(house.key_ids) == {"0x0"}


def test_setup_leaves_the_disks_alone_without_permission(house: House) -> None:
    printed = house.good("key_manager setup", *TWO, "", "", "", "", "")
    assert printed.endswith(f"{LOCK}\n")
    assert set(house.key_ids) == {"0x0"}
    assert len(house.in_keytable()) == 1


def test_setup_stores_the_pair_and_its_tag_on_every_key_server(house: House) -> None:
    house.good("key_manager setup", *TWO, "", "", "", "", "")
    first, second = (pairs_on(server) for server in house.servers)
    assert first == second
    assert [(pair.key_id, pair.tag) for pair in first] == [(house.in_keytable()[0], "filer1")]


def test_setup_asks_again_for_what_is_neither_yes_nor_no(house: House) -> None:
    printed = house.good("key_manager setup", *TWO, "", "", "perhaps", "N")
    assert f"{CREATE}perhaps\nPlease answer yes or no.\n{CREATE[1:]}N\n" in printed


def test_setup_refuses_to_make_key_pair_129(house: House) -> None:
    put(house.servers[0], *(new_pair() for _ in range(128)))
    status, out, err = house.execute("key_manager setup", *TWO, "", "", "", "")
    assert (status, err) == (1, "key_manager: the limit of 128 key pairs is reached\n")
    assert out.endswith(f"{GENERATE}\n\n")
    assert pairs_on(house.servers[1]) == []


def test_setup_keeps_the_registration_when_the_pair_cannot_be_stored(house: House) -> None:
    when = {"generated passphrase": house.servers[1].stop}
    status, _, err = house.execute("key_manager setup", *TWO, "", "", "", "", when=when)
    assert (status, err) == (
        1,
        "key_manager: key server 127.0.0.3 is not responding: connection refused; "
        "no key pair was created\n",
    )
    assert house.registered.servers == ("127.0.0.2", "127.0.0.3")
    assert (pairs_on(house.servers[0]), set(house.key_ids)) == ([], {"0x0"})


def test_setup_locks_only_what_it_has_rekeyed(house: House) -> None:
    house.add()
    house.good("key_manager rekey")
    house.good("disk encrypt rekey 0x0 0c.00.0 0c.00.1 0c.00.2")
    lose_everywhere(house)
    house.reboot()
    old = house.key_id("0c.00.3")
    status, out, err = house.execute("key_manager setup", "", "", "", "", "", "", "", "yes")
    assert (status, err) == (1, f"0c.00.3: its key ID {old} is not in the keytable\n")
    assert out.endswith(completed("rekey", 4, failures=1, unknown=1) + completed("lock", 3))
    assert [disk.locking for disk in house.filer.shelf] == [True, True, True, False]


def test_setup_that_is_stopped_while_it_rekeys_does_not_lock(build: Build) -> None:
    house = build(disks=WORKERS + 4)

    @contextmanager
    def stop_at_the_third_disk(work: Work) -> Iterator[Tell]:
        def tell(done: int) -> None:
            if isinstance(work, Steps) and work.what == "rekey" and done == 2:
                house.filer.interrupt.request()

        yield tell

    house.progress = stop_at_the_third_disk
    status, out, err = house.execute("key_manager setup", *TWO, "", "", "", "", "yes")
    assert (status, err) == (1, "rekey: interrupted; 3 disks were not reached\n")
    assert out.endswith(f"{LOCK}yes\n{completed('rekey', WORKERS + 1)}")
    assert not any(disk.locking for disk in house.filer.shelf)


def test_setup_names_the_key_servers_that_fell_silent_before_the_rekey(house: House) -> None:
    answers = (*TWO, "", "", "", "", "yes")
    status, out, err = house.execute(
        "key_manager setup", *answers, when={LOCK.lstrip(): house.stop_servers}
    )
    assert status == 1
    for server in house.servers:
        gone = f"Key server {server.address} is not responding: connection refused.\n"
        assert f"WARNING: {gone}" in err
    assert out.endswith(f"{LOCK}yes\n{completed('rekey', 4, failures=4)}")


def test_setup_left_before_registering_changes_nothing_else(house: House) -> None:
    house.add(house.servers[0])
    before = house.registered
    for asked in range(4):
        answers = ("127.0.0.3", "q", "")[:asked]
        for end, said in ((Cancelled, INTERRUPTED), (EndOfAnswers, END_OF_INPUT)):
            status, _, err = house.execute("key_manager setup", *answers, end)
            assert (status, err) == (1, said), answers
            assert house.registered == before, answers


def test_setup_may_run_again_and_drops_what_is_not_named_again(house: House) -> None:
    setup_two(house)
    house.good("key_manager setup", "127.0.0.3", "q", *NO_KEYS)
    assert house.registered.servers == ("127.0.0.3",)
    assert house.registered_files() == ["127.0.0.3_CA.pem", "client.pem", "client_private.pem"]


def test_setup_may_run_again_to_rekey_the_disks(house: House) -> None:
    old = house.encrypt()
    printed = house.good("key_manager setup", "", "", "", "", "", "", "", "yes")
    assert printed.endswith(completed("rekey", 4) + completed("lock", 4))
    assert len(set(house.key_ids)) == 1
    assert old not in set(house.key_ids)
    assert house.reboot() == ""


def test_setup_asks_before_it_drops_the_only_way_to_a_key(house: House) -> None:
    house.add()
    house.good("key_manager rekey")
    lose(house.servers[1])
    house.good("disk encrypt lock *")
    key_id = house.key_id()
    status, out, err = house.execute("key_manager setup", "127.0.0.3", "q", "", "", "")
    assert status == 1
    assert out.endswith("Remove anyway? {no} \n")
    assert err == (
        f"WARNING: key ID {key_id} of 4 locked disks would be on no registered key server that "
        "answers.\n"
        "key_manager: the key servers stay as they were\n"
    )
    assert house.registered.servers == ("127.0.0.2", "127.0.0.3")


def test_setup_asks_each_key_server_once_and_warns_of_a_silent_one(house: House) -> None:
    house.servers[1].stop()
    outcome = house.execute("key_manager setup", *TWO, *NO_KEYS)
    assert outcome == Outcome(
        0, outcome.out, "WARNING: Key server 127.0.0.3 is not responding: connection refused.\n"
    )
    assert house.registered.servers == ("127.0.0.2", "127.0.0.3")


def test_a_passphrase_never_shows_up_on_the_screen(house: House) -> None:
    house.good("key_manager setup", *TWO, "", "", "", "no", PASSPHRASE, PASSPHRASE, "yes")
    everything = house.screen.out
    for line in ("key_manager query", "key_manager rekey -manual", "disk encrypt show", "history"):
        secrets = [OTHER_PASSPHRASE] * 2 if "-manual" in line else []
        everything += "".join(house.execute(line, *secrets)[1:])
    everything += house.good("rdfile /etc/messages")
    assert PASSPHRASE not in everything
    assert OTHER_PASSPHRASE not in everything
    assert repr(house.filer.keytable.get(house.key_id())).count("<authentication key>") == 1
