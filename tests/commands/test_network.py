"""ping and ifconfig, and sysconfig in detail."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from filer.config import MIB
from filer.network import answers_echo, answers_tcp, source_of
from filer.running.interrupt import Interrupt, Interrupted
from filer.shell.session import FAILED, OK
from tests.kit import manual
from tests.kit.house import House
from tests.kit.manual import Build

build, house = manual.build, manual.house

PAYLOAD = b"payload of a ping"


def may_ping() -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).close()
    except OSError:
        return False
    return True


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """An address and a port where nobody answers: a full queue of connections."""
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.9", 0))
        listening.listen(0)
        at = listening.getsockname()
        with closing(socket.socket()) as first, closing(socket.socket()) as second:
            for each in (first, second):
                each.setblocking(False)
                each.connect_ex(at)
            yield at


def test_ping_says_that_a_host_is_alive(house: House) -> None:
    for server in house.servers:
        assert house.good(f"ping {server.address}") == f"{server.address} is alive\n"
    house.stop_servers()  # its host is still there
    assert house.good(f"ping {house.servers[0].address}") == "127.0.0.2 is alive\n"
    assert house.good("ping ::ffff:127.0.0.2") == "127.0.0.2 is alive\n"


@pytest.mark.parametrize("host", ["filer2", "127.0.0", "224.0.0.1", "fe80::1%eth0", "''"])
def test_ping_takes_an_ip_address_only(house: House, host: str) -> None:
    assert house.bad(f"ping {host}").startswith("ping: ")


def test_ping_says_that_there_was_no_answer(house: House, silent: tuple[str, int]) -> None:
    host, port = silent
    house.filer.hardware = house.filer.hardware._replace(port=port, timeout=0.2)
    outcome = house.execute(f"ping {host}")
    if may_ping():
        assert outcome == (OK, f"{host} is alive\n", "")
    else:
        assert outcome == (FAILED, "", f"no answer from {host}\n")


def test_a_connection_that_is_refused_is_an_answer_and_none_is_not(
    silent: tuple[str, int],
) -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.9", 0))
        port = unused.getsockname()[1]
    assert answers_tcp("127.0.0.9", port, 20)
    assert not answers_tcp(*silent, 0.2)


@pytest.mark.parametrize("address", ["127.0.0.2", "::1"])
def test_an_echo_request_is_answered_or_not_permitted(address: str) -> None:
    answered = answers_echo(address, 20, PAYLOAD, lambda: None)
    assert answered is (True if may_ping() else None)


class Echoing(socket.socket):
    """A datagram socket to a test, in place of one that may send ICMP."""

    def __init__(self, answer: bytes) -> None:
        here, self.there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        super().__init__(socket.AF_UNIX, socket.SOCK_DGRAM, fileno=here.detach())
        self.there.send(answer)

    def connect(self, _address: object) -> None: ...


@pytest.mark.parametrize(
    ("answer", "alive"),
    [
        (bytes(8) + PAYLOAD, True),
        (bytes((0x45, *(0,) * 19)) + bytes(8) + PAYLOAD, True),  # as on macOS
        (bytes((3, *(0,) * 7)) + PAYLOAD, False),  # destination unreachable
        (bytes(8) + b"another", False),
        (b"", False),
    ],
)
def test_only_our_answer_counts(answer: bytes, alive: bool) -> None:
    echoing = Echoing(answer)
    assert answers_echo("127.0.0.2", 0.2, PAYLOAD, lambda: None, lambda _: echoing) is alive
    sent = echoing.there.recv(100)
    assert sent == bytes((8, *(0,) * 7)) + PAYLOAD
    echoing.there.close()


def test_ctrl_c_ends_the_wait_for_an_answer() -> None:
    echoing = Echoing(b"")
    interrupt = Interrupt()
    interrupt.request()
    with pytest.raises(Interrupted):
        answers_echo("127.0.0.2", 3600, PAYLOAD, interrupt.check, lambda _: echoing)
    echoing.there.close()


# ifconfig.


def test_the_interfaces_are_those_that_reach_the_key_servers(house: House) -> None:
    assert house.good("ifconfig -a") == (
        "lo: flags=0x49<UP,LOOPBACK,RUNNING>\n\tinet 127.0.0.1 netmask 0xff000000\n"
    )
    house.add()
    sources = {source_of(server.address) for server in house.servers} - {"127.0.0.1"}
    shown = house.good("ifconfig -a").splitlines()[2:]
    assert shown == [f"\tinet {each} netmask 0xff000000" for each in sorted(map(str, sources))]


def test_the_interface_of_loader_is_shown(house: House) -> None:
    house.power_off()
    house.filer = house.machine.power_on(
        {
            "kmip.init.ipaddr": "10.1.2.3",
            "kmip.init.netmask": "255.255.255.0",
            "kmip.init.interface": "e0a",
        }
    )
    assert house.good("ifconfig -a").splitlines()[:2] == [
        "e0a: flags=0x41<UP,RUNNING>",
        "\tinet 10.1.2.3 netmask 0xffffff00",
    ]


def test_an_address_without_a_way_to_it_has_no_source() -> None:
    assert source_of("127.0.0.2") in ("127.0.0.1", "127.0.0.2")
    assert source_of("::1") in ("::1", None)


# sysconfig.


@pytest.mark.parametrize("option", ["-a", "-v"])
def test_sysconfig_in_detail(build: Build, option: str) -> None:
    house = build(0, disks=26)
    text = house.good(f"sysconfig {option}")
    lines = text.splitlines()
    assert "\tSystem Serial Number: 1573922-40-7 (filer1)" in lines
    board = lines.index("\tslot 0: System Board")
    assert lines[board + 1] == f"\t\tProcessors:         {os.cpu_count()}"
    size = re.fullmatch(r"\t\tMemory Size:        (\d+) MB", lines[board + 2])
    assert size
    assert int(size[1]) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MIB
    assert lines[-2:] == ["\t\tShelf   0: 24 disks", "\t\tShelf   1: 2 disks"]
    assert text.count(" 1.0MB 512B/sect ") == 26
    assert "Processors" not in house.good("sysconfig")
