"""man key_manager: add, remove, show, status, and properties of all commands."""

import pytest

from tests.kit import manual, pki
from tests.kit.hostile import silenced
from tests.kit.house import House, names_in
from tests.kit.manual import CLIENT_FILES, NO_KEY_SERVERS, Build, registering
from tests.kit.pairs import lose, new_pair, pairs_on, put

build, house = manual.build, manual.house

EVERY_COMMAND = [
    "setup",
    "add -key_server 127.0.0.2",
    "remove -key_server 127.0.0.2",
    "show",
    "status",
    "query",
    "rekey",
    "restore -all",
    "restore -key_server 127.0.0.2",
]


def removing(*addresses: str) -> str:
    lines = (f"Key server {each} will be unregistered from service.\n" for each in addresses)
    return f"{''.join(lines)}Unregistration complete.\n"


def options(count: int) -> str:
    return " ".join(f"-key_server 127.0.0.{number}" for number in range(2, 2 + count))


# In common.


def test_without_storage_encryption_every_command_is_refused(build: Build) -> None:
    house = build(1, storage_encryption=False)
    reason = "key_manager: Storage Encryption is not enabled on this system\n"
    for command in EVERY_COMMAND:
        assert house.bad(f"key_manager {command}") == reason, command


def test_key_servers_cannot_be_named_by_dns(house: House) -> None:
    house.add()
    named = [each for each in EVERY_COMMAND if "-key_server" in each]
    for command in (*named, "status -key_server x"):
        line = " ".join(["key_manager", *command.split(" ")[:-1], "keys.example.com"])
        assert house.bad(line) == (
            'key_manager: "keys.example.com" is not an IP address; '
            "key servers cannot be named by DNS\n"
        ), line


def test_without_key_servers_every_request_is_refused(house: House) -> None:
    for command in ("status", "query", "rekey", "restore -all"):
        assert house.bad(f"key_manager {command}") == NO_KEY_SERVERS, command


def test_only_registered_key_servers_can_be_named(house: House) -> None:
    house.add(house.servers[0])
    reason = "key_manager: key server 127.0.0.3 is not registered\n"
    for command in ("remove", "status", "query", "restore"):
        assert house.bad(f"key_manager {command} -key_server 127.0.0.3") == reason, command


# add


def test_add_registers_client_files_and_key_servers(house: House) -> None:
    assert house.good(f"key_manager add {options(2)}") == (
        f"{CLIENT_FILES}{registering('127.0.0.2', '127.0.0.3')}"
    )
    assert house.registered.servers == ("127.0.0.2", "127.0.0.3")
    assert house.registered_files() == [
        "127.0.0.2_CA.pem",
        "127.0.0.3_CA.pem",
        "client.pem",
        "client_private.pem",
    ]


def test_add_registers_the_client_files_only_if_necessary(house: House) -> None:
    house.add(house.servers[0])
    assert house.good("key_manager add -key_server 127.0.0.3") == registering("127.0.0.3")
    assert house.registered.servers == ("127.0.0.2", "127.0.0.3")


def test_add_keeps_registered_client_files_that_are_not_installed_any_more(house: House) -> None:
    house.add(house.servers[0])
    house.good("keymgr delete cert client.pem")
    house.good("keymgr delete cert client_private.pem")
    assert house.good("key_manager add -key_server 127.0.0.3") == registering("127.0.0.3")


@pytest.mark.parametrize("missing", ["client.pem", "client_private.pem", "127.0.0.3_CA.pem"])
def test_add_registers_nothing_unless_all_certificates_are_installed(
    missing: str, house: House
) -> None:
    house.good(f"keymgr delete cert {missing}")
    assert house.bad(f"key_manager add {options(2)}") == (
        f'key_manager: {missing} is not installed; use "keymgr install cert /path/{missing}"\n'
    )
    assert (house.registered.servers, house.registered_files()) == ((), [])


def test_add_says_how_many_of_the_keys_in_use_a_new_key_server_holds(house: House) -> None:
    house.add(house.servers[0])
    house.good("key_manager rekey")
    status, _, err = house.execute("key_manager add -key_server 127.0.0.3")
    warning = (
        "WARNING: key server 127.0.0.3 holds 0 of the 1 keys that disks use; "
        '"key_manager rekey" gives it and all disks a new one.\n'
    )
    assert (status, err) == (0, warning)
    house.good("key_manager rekey")
    house.good("key_manager add -key_server 127.0.0.3")


def test_the_system_log_has_what_is_registered_and_removed(house: House) -> None:
    house.add()
    house.good("key_manager remove -key_server 127.0.0.2")
    log = house.good("rdfile /etc/messages")
    for event in (
        "kmip.cert.registered:info]: client.pem registered",
        "kmip.server.registered:info]: key server 127.0.0.3 registered",
        "kmip.server.removed:info]: key server 127.0.0.2 removed",
    ):
        assert log.count(event) == 1


def test_add_needs_a_key_server(house: House) -> None:
    assert house.bad("key_manager add") == (
        "key_manager: incomplete; expected -key_server\n"
        "usage: key_manager add ( -key_server ipaddr )+\n"
    )


def test_add_refuses_a_fifth_key_server(build: Build) -> None:
    house = build(5)
    refusal = "key_manager: a maximum of four key servers can be registered\n"
    assert house.bad(f"key_manager add {options(5)}") == refusal
    assert not house.registered.servers
    house.good(f"key_manager add {options(4)}")
    assert house.bad("key_manager add -key_server 127.0.0.6") == refusal
    assert house.registered.servers == ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")


def test_add_counts_the_same_address_once(house: House) -> None:
    same = "-key_server 127.0.0.2 -key_server ::ffff:127.0.0.2 " * 3
    assert house.good(f"key_manager add {same}") == f"{CLIENT_FILES}{registering('127.0.0.2')}"
    assert house.registered.servers == ("127.0.0.2",)


def test_add_of_a_registered_key_server_refreshes_its_certificate(house: House) -> None:
    house.add()
    old = house.registered.certificates["127.0.0.2_CA.pem"]
    new = pki.authority("new CA")
    pki.serve_as(house.servers[0], pki.server(new, "127.0.0.2"))
    assert house.execute("key_manager status").err == (
        "Key server 127.0.0.2 is not responding: certificate not trusted.\n"
    )
    (house.root / "new").mkdir()
    file = house.root / "new" / "127.0.0.2_CA.pem"
    file.write_bytes(new.certificate_pem())
    house.good(f"keymgr install cert {file}")
    assert house.good("key_manager add -key_server 127.0.0.2") == registering("127.0.0.2")
    assert house.registered.servers == ("127.0.0.2", "127.0.0.3")
    assert house.registered.certificates["127.0.0.2_CA.pem"] == new.certificate_pem() != old
    assert "not" not in house.good("key_manager status")


def test_add_warns_of_a_silent_key_server(house: House) -> None:
    house.servers[1].stop()
    outcome = house.execute(f"key_manager add {options(2)}")
    assert outcome == (
        0,
        f"{CLIENT_FILES}{registering('127.0.0.2', '127.0.0.3')}",
        "WARNING: Key server 127.0.0.3 is not responding: connection refused.\n",
    )
    assert house.registered.servers == ("127.0.0.2", "127.0.0.3")


def install_new_client(house: House, common_name: str) -> None:
    """Install client files with a new key, from the authority of the key servers."""
    identity = pki.client(pki.authority_of(house.servers[0]), common_name)
    directory = house.root / "new client"
    directory.mkdir()
    (directory / "client.pem").write_bytes(identity.certificate_pem())
    (directory / "client_private.pem").write_bytes(identity.private_pem())
    for name in ("client.pem", "client_private.pem"):
        assert house.execute(f"keymgr install cert '{directory / name}'").status == 0


def test_add_registers_changed_client_files_that_see_every_key_in_use(house: House) -> None:
    house.encrypt()
    install_new_client(house, "filer")
    printed = house.good("key_manager add -key_server 127.0.0.2")
    assert printed == f"{CLIENT_FILES}{registering('127.0.0.2')}"
    assert house.reboot() == ""


def test_add_refuses_changed_client_files_that_do_not_see_a_key_in_use(house: House) -> None:
    key_id = house.encrypt()
    before = house.registered
    install_new_client(house, "another owner")
    refusal = house.bad("key_manager add -key_server 127.0.0.2")
    assert refusal == (
        f"key_manager: key server 127.0.0.2 does not show key ID {key_id}, which is in use, to "
        "the changed client certificate; the registered one stays\n"
    )
    assert house.registered == before


def test_key_servers_may_have_ipv6_addresses(build: Build) -> None:
    from filer.keyserver.server import KeyServer

    house = build(1)
    first = house.servers[0]
    with KeyServer(first.directory, "::1", first.port):
        house.install("::1_CA.pem")
        assert house.good("key_manager add -key_server 0:0:0:0:0:0:0:1") == (
            f"{CLIENT_FILES}{registering('::1')}"
        )
        assert house.good("key_manager status") == "Key server ::1 is responding.\n"


# remove


def test_remove_unregisters_a_key_server_and_its_ca_file(house: House) -> None:
    house.add()
    assert house.good("key_manager remove -key_server 127.0.0.2") == removing("127.0.0.2")
    assert house.good("key_manager show") == "127.0.0.3\n"
    assert house.registered_files() == ["127.0.0.3_CA.pem", "client.pem", "client_private.pem"]


def test_remove_of_the_last_key_server_unregisters_the_client_files(house: House) -> None:
    house.add()
    printed = house.good(f"key_manager remove {options(2)}")
    assert printed == removing("127.0.0.2", "127.0.0.3")
    assert house.registered_files() == []


def test_remove_does_not_uninstall_and_add_registers_again(house: House) -> None:
    house.add()
    house.good(f"key_manager remove {options(2)}")
    assert len(house.installed_files()) == 4
    assert house.good("key_manager add -key_server 127.0.0.2") == (
        f"{CLIENT_FILES}{registering('127.0.0.2')}"
    )


def test_remove_needs_a_key_server(house: House) -> None:
    assert house.bad("key_manager remove") == (
        "key_manager: incomplete; expected -key_server\n"
        "usage: key_manager remove ( -key_server ipaddr )+\n"
    )


def test_remove_refuses_more_than_four_key_servers(build: Build) -> None:
    house = build(4)
    house.add()
    assert house.bad(f"key_manager remove {options(5)}") == (
        "key_manager: a maximum of four key servers can be removed\n"
    )
    assert len(house.registered.servers) == 4
    house.good(f"key_manager remove {options(4)}")
    assert not house.registered.servers


def test_remove_checks_every_address_before_it_removes_one(house: House) -> None:
    house.add(house.servers[0])
    house.bad(f"key_manager remove {options(2)}")
    assert house.registered.servers == ("127.0.0.2",)


def test_remove_counts_the_same_address_once(house: House) -> None:
    house.add()
    printed = house.good("key_manager remove -key_server 127.0.0.2 -key_server 127.0.0.2")
    assert printed == removing("127.0.0.2")


@pytest.mark.parametrize("answer", ["", "no", "NO"])
def test_remove_asks_before_the_key_of_a_locked_disk_is_out_of_reach(
    answer: str, build: Build
) -> None:
    house = build(1)
    key_id = house.encrypt()
    before = house.registered
    assert house.execute("key_manager remove -key_server 127.0.0.2", answer) == (
        1,
        f"Remove anyway? {{no}} {answer}\n",
        f"WARNING: key ID {key_id} of 4 locked disks would be on no registered key server that "
        "answers.\n"
        "key_manager: no key server was removed\n",
    )
    assert house.registered == before


def test_remove_continues_if_confirmed(build: Build) -> None:
    house = build(1)
    house.encrypt()
    status, out, _ = house.execute("key_manager remove -key_server 127.0.0.2", "yes")
    assert (status, out) == (0, f"Remove anyway? {{no}} yes\n{removing('127.0.0.2')}")
    assert (house.registered.servers, house.registered_files()) == ((), [])


def test_remove_asks_when_the_other_key_server_does_not_answer(house: House) -> None:
    house.encrypt()
    house.servers[1].stop()
    status, out, err = house.execute("key_manager remove -key_server 127.0.0.2", "")
    assert (status, out) == (1, "Remove anyway? {no} \n")
    assert "of 4 locked disks would be on no registered key server" in err


def test_remove_asks_when_the_other_key_server_has_another_secret(house: House) -> None:
    key_id = house.encrypt()
    lose(house.servers[1])
    put(house.servers[1], new_pair(key_id=key_id))
    status, out, _ = house.execute("key_manager remove -key_server 127.0.0.2", "")
    assert (status, out) == (1, "Remove anyway? {no} \n")


def test_remove_asks_when_only_a_wrong_secret_would_be_left(house: House) -> None:
    key_id = house.encrypt()
    lose(house.servers[1])
    put(house.servers[1], new_pair(key_id=key_id))
    house.execute("key_manager restore -all")
    status, out, _ = house.execute("key_manager remove -key_server 127.0.0.2", "")
    assert (status, out) == (1, "Remove anyway? {no} \n")


def test_remove_does_not_ask_while_another_key_server_has_the_key(house: House) -> None:
    house.encrypt()
    assert house.good("key_manager remove -key_server 127.0.0.2") == removing("127.0.0.2")
    assert house.reboot() == ""


def test_remove_does_not_ask_for_disks_that_are_not_locked(build: Build) -> None:
    house = build(1)
    house.add()
    house.good("key_manager rekey")
    assert house.good("key_manager remove -key_server 127.0.0.2") == removing("127.0.0.2")


def test_remove_leaves_the_keys_on_the_key_server(house: House) -> None:
    key_id = house.encrypt()
    house.good("key_manager remove -key_server 127.0.0.2")
    assert [pair.key_id for pair in pairs_on(house.servers[0])] == [key_id]


# show


def test_show_lists_the_key_servers_in_the_order_registered(house: House) -> None:
    house.add(house.servers[1])
    house.add(house.servers[0])
    assert house.good("key_manager show") == "127.0.0.3\n127.0.0.2\n"


def test_show_without_key_servers_succeeds(house: House) -> None:
    assert house.good("key_manager show") == NO_KEY_SERVERS


def test_the_key_servers_are_known_after_a_reboot(house: House) -> None:
    house.add()
    house.reboot()
    assert house.good("key_manager show") == "127.0.0.2\n127.0.0.3\n"


# status


def test_status_tells_of_all_key_servers(house: House) -> None:
    house.add()
    assert house.good("key_manager status") == (
        "Key server 127.0.0.2 is responding.\nKey server 127.0.0.3 is responding.\n"
    )


def test_status_tells_of_the_key_servers_named(house: House) -> None:
    house.add()
    assert house.good("key_manager status -key_server 127.0.0.3") == (
        "Key server 127.0.0.3 is responding.\n"
    )
    assert house.good("key_manager status -key_server 127.0.0.3 -key_server 127.0.0.2") == (
        "Key server 127.0.0.3 is responding.\nKey server 127.0.0.2 is responding.\n"
    )


def test_status_counts_the_same_address_once(house: House) -> None:
    house.add()
    assert house.good("key_manager status -key_server 127.0.0.2 -key_server 127.0.0.2") == (
        "Key server 127.0.0.2 is responding.\n"
    )


def test_status_fails_if_a_key_server_does_not_respond(house: House) -> None:
    house.add()
    house.servers[1].stop()
    assert house.execute("key_manager status") == (
        1,
        "Key server 127.0.0.2 is responding.\n",
        "Key server 127.0.0.3 is not responding: connection refused.\n",
    )


def test_status_says_that_there_was_no_answer_in_time(build: Build) -> None:
    house = build(1, timeout=0.5)
    house.add()
    with silenced(house.servers[0]):
        assert house.bad("key_manager status") == (
            "Key server 127.0.0.2 is not responding: no answer in 0.5 s.\n"
        )


def test_status_says_that_a_certificate_is_not_trusted(house: House) -> None:
    house.add(house.servers[0])
    pki.serve_as(house.servers[0], pki.server(pki.authority(), "127.0.0.2"))
    assert house.bad("key_manager status") == (
        "Key server 127.0.0.2 is not responding: certificate not trusted.\n"
    )


def test_status_says_that_a_certificate_has_expired(house: House) -> None:
    house.add(house.servers[0])
    known = pki.authority_of(house.servers[0])
    pki.serve_as(house.servers[0], pki.server(known, "127.0.0.2", valid=pki.EXPIRED))
    assert house.bad("key_manager status") == (
        "Key server 127.0.0.2 is not responding: certificate expired.\n"
    )


def test_status_says_that_the_client_certificate_is_rejected(house: House) -> None:
    house.add(house.servers[0])
    pki.accept_clients_of(house.servers[0], pki.authority())
    assert house.bad("key_manager status") == (
        "Key server 127.0.0.2 is not responding: client certificate rejected.\n"
    )


def test_status_warns_of_an_accepted_certificate_without_an_address(house: House) -> None:
    house.add(house.servers[0])
    known = pki.authority_of(house.servers[0])
    pki.serve_as(house.servers[0], pki.server(known, common_name="127.0.0.2"))
    status, out, err = house.execute("key_manager status")
    assert (status, out) == (0, "Key server 127.0.0.2 is responding.\n")
    assert err.startswith("WARNING: key server 127.0.0.2: ")
    assert "subjectAltName" in err
    pki.serve_as(house.servers[0], pki.server(known, common_name="another"))
    assert house.bad("key_manager status") == (
        "Key server 127.0.0.2 is not responding: its certificate is for another.\n"
    )


def test_status_warns_of_registered_certificates_that_expire_soon(house: House) -> None:
    authority = pki.authority_of(house.servers[0])
    house.install_client(pki.client(authority, valid=pki.EXPIRING))
    house.add(house.servers[0])
    status, out, err = house.execute("key_manager status")
    assert (status, out) == (0, "Key server 127.0.0.2 is responding.\n")
    warning = "WARNING: registered certificate client.pem: expires in 12 days, on "
    assert (err.startswith(warning), err.count("\n")) == (True, 1)


def test_a_client_certificate_that_is_rejected_because_of_its_dates_is_called_that(
    house: House,
) -> None:
    authority = pki.authority_of(house.servers[0])
    for valid, says in ((pki.EXPIRED, "expired on "), (pki.NOT_YET, "is not valid before ")):
        house.install_client(pki.client(authority, valid=valid))
        house.execute("key_manager add -key_server 127.0.0.2")
        _, _, err = house.execute("key_manager status")
        reason = f"Key server 127.0.0.2 is not responding: client certificate {says}"
        assert err.startswith(reason)


def test_status_changes_nothing(house: House) -> None:
    key_id = house.encrypt()
    generations = names_in(house.root / "var")
    house.good("key_manager status")
    assert (set(house.key_ids), house.in_keytable()) == ({key_id}, [key_id])
    assert names_in(house.root / "var") == generations
