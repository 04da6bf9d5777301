"""The clock of the filer, which ``date`` sets, and everything that goes by it."""

import ast
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from filer.boot.machine import Machine
from filer.clock import Clock
from filer.commands.system import Uptime
from filer.host.durable import Storage
from filer.host.toml_file import ConfigError
from filer.kmip.failure import CERTIFICATE_EXPIRED, CERTIFICATE_NOT_TRUSTED, KeyServerFailure
from filer.kmip.tls import check_dates
from filer.running.interrupt import Interrupt
from filer.shell.plugins import commands_at_loader
from filer.shell.session import OK
from tests.kit import manual
from tests.kit.house import House, Told, settings
from tests.kit.paths import CHECKOUT

build, house = manual.build, manual.house

NOON = datetime(2026, 11, 27, 12, 0, 30, tzinfo=UTC)


class Host:
    """The time of the host."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def timed(tmp_path: Path, host: Host) -> House:
    """A filer without key servers, on a host whose time the test sets."""
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    (root / "filer.toml").write_text(settings())
    house = House(root)
    house.machine.unplug()
    house.machine = Machine(root, Interrupt(), now=host)
    house.boot()
    return house


# The clock itself.


def test_the_offset_is_kept_without_power(tmp_path: Path, host: Host) -> None:
    path = tmp_path / "clock.toml"
    clock = Clock(path, Storage(), host)
    assert (clock.now(), clock.offset(), path.exists()) == (NOON, timedelta(), False)
    clock.set(NOON + timedelta(days=1))
    assert clock.now() == NOON + timedelta(days=1)
    clock.set(NOON - timedelta(hours=1))
    host.time += timedelta(minutes=5)
    for each in (clock, Clock(path, Storage(), host)):
        assert each.now() == NOON - timedelta(minutes=55)
    assert path.read_text() == "offset = -3600.0\n"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("offset = true\n", "1: offset must be a number of seconds"),
        ("offset = nan\n", "1: offset must be a number of seconds"),
        ("\noffset = 1e300\n", "2: offset must be a number of seconds"),
        ("", "1: offset must be a number of seconds"),
    ],
)
def test_a_damaged_offset_is_named_with_its_line(
    content: str, error: str, tmp_path: Path, host: Host
) -> None:
    path = tmp_path / "clock.toml"
    path.write_text(content)
    with pytest.raises(ConfigError) as problem:
        Clock(path, Storage(), host)
    assert str(problem.value) == f"var/clock.toml:{error}"
    assert path.read_text() == content


# date.


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("12311530", "Thu Dec 31 15:30:00 UTC 2026"),
        ("01020304.59", "Fri Jan  2 03:04:59 UTC 2026"),
        ("2802291200", "Tue Feb 29 12:00:00 UTC 2028"),
        ("9901010000", "Fri Jan  1 00:00:00 UTC 1999"),
        ("209901010000.01", "Thu Jan  1 00:00:01 UTC 2099"),
    ],
)
def test_date_sets_the_clock(timed: House, host: Host, typed: str, shown: str) -> None:
    assert timed.good(f"date {typed}") == f"{shown}\n"
    assert timed.good("date") == f"{shown}\n"
    timed.boot()
    assert timed.good("date") == f"{shown}\n"
    host.time += timedelta(hours=1)
    assert timed.good("date").split(":")[0] != shown.split(":", maxsplit=1)[0]


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("1231", "[[cc]yy]MMDDhhmm[.ss]"),
        ("123115301", "[[cc]yy]MMDDhhmm[.ss]"),
        ("12311530.5", "[[cc]yy]MMDDhhmm[.ss]"),
        ("١٢٣١١٥٣٠", "[[cc]yy]MMDDhhmm[.ss]"),
        ("13011530", "month must be in 1..12"),
        ("02291200", "day is out of range for month"),
        ("01012400", "hour must be in 0..23"),
        ("01010000.60", "second must be in 0..59"),
    ],
)
def test_what_is_no_time_is_refused(timed: House, typed: str, reason: str) -> None:
    refusal = timed.bad(f"date {typed}")
    assert refusal.startswith("date: ")
    assert refusal.endswith(f" is not a time: {reason}\n")
    assert timed.good("date") == "Fri Nov 27 12:00:30 UTC 2026\n"


@pytest.mark.parametrize("typed", ["196901010000", "210001010000", "000001010000"])
def test_years_have_limits(timed: House, typed: str) -> None:
    assert "year" in timed.bad(f"date {typed}")
    assert not (timed.root / "var" / "clock.toml").exists()


def test_the_time_since_power_on_does_not_jump_with_the_clock(timed: House, host: Host) -> None:
    host.time += timedelta(minutes=7)
    for typed in ("01010000", "01010000", "204012310000"):
        timed.good(f"date {typed}")
        assert timed.good("uptime").split(" 0 NFS")[0] == " 12:00am up 7 mins,"
    filer = timed.filer
    assert Uptime.of(filer.now(), filer.powered_on).seconds == 7 * 60


def test_the_system_log_has_the_time_of_the_filer(timed: House) -> None:
    timed.good("date 3001010000; logger after")
    *_, line = timed.good("rdfile /etc/messages").splitlines()
    assert line == "Tue Jan 01 00:00:00 UTC [filer1:logger.usr:notice]: after"


def test_a_clock_that_is_set_rotates_the_log_once(timed: House) -> None:
    timed.good("date 3001010000")
    os.utime(timed.root / "mroot/etc/messages", (NOON.timestamp(),) * 2)
    for _ in range(4):
        timed.boot()
    assert sorted(path.name for path in (timed.root / "mroot/etc").glob("messages*")) == [
        "messages",
        "messages.0",
    ]


# Certificates.


def test_certificates_expire_by_the_clock_of_the_filer(house: House) -> None:
    house.encrypt()
    addresses = [server.address for server in house.servers]
    after = house.filer.now() + timedelta(days=731)
    house.good(f"date {after:%Y%m%d%H%M}")
    status = house.run("key_manager status")
    for address in addresses:
        assert f"Key server {address} is not responding: certificate expired." in status.failures
    told = Told()
    with pytest.raises(Exception, match="PANIC"):
        house.boot(told)
    assert told.warnings[:1] == [
        line for line in told.warnings if line.startswith("registered certificate client.pem: exp")
    ]
    # At LOADER too: a clock that is wrong must not keep the filer from booting for good.
    before = house.filer.now() - timedelta(days=731)
    screen = house.run(f"date {before:%Y%m%d%H%M}", commands=commands_at_loader())
    assert screen.status == OK
    assert house.boot().warnings == []


def test_a_certificate_close_to_its_end_is_announced(house: House) -> None:
    house.add()
    close = house.filer.now() + timedelta(days=730 - 10)
    house.good(f"date {close:%Y%m%d%H%M}")
    assert any("client.pem: expires in" in line for line in house.boot().warnings)


LEAF = {
    "subject": "leaf",
    "issuer": "ca",
    "notBefore": "Nov 27 00:00:00 2026 GMT",
    "notAfter": "Nov 28 00:00:00 2026 GMT",
}
CA = {**LEAF, "subject": "ca", "notAfter": "Nov 27 13:00:00 2026 GMT"}
OTHER = {**CA, "subject": "another", "notAfter": "Nov 27 00:00:01 2026 GMT"}


@pytest.mark.parametrize(
    ("time", "reason"),
    [
        (NOON, None),
        (NOON + timedelta(hours=2), CERTIFICATE_EXPIRED),
        (NOON - timedelta(hours=13), CERTIFICATE_NOT_TRUSTED),
    ],
)
def test_the_dates_of_a_server_certificate_and_of_its_issuers_count(
    time: datetime, reason: str | None
) -> None:
    if reason is None:
        check_dates(LEAF, [CA, OTHER], time)
    else:
        with pytest.raises(KeyServerFailure, match=f"^{reason}$"):
            check_dates(LEAF, [CA, OTHER], time)
    check_dates(LEAF, [OTHER], NOON + timedelta(hours=2))


# The kind: nothing asks the host for the time.

MAY_ASK = {
    "filer/boot/machine.py": {"local_time"},  # the host's time, for the clock
    "filer/kmip/client.py": {"_time_of_day"},  # a client without a filer
    "filer/throw_away/certificates.py": {"issue"},  # of filer-storm, which has no filer
    "filer/throw_away/ledger.py": {"default_path"},
    "shell/recording/recorder.py": {"recording"},  # when the recording was made, on the host
}


def test_nothing_goes_by_the_clock_of_the_host() -> None:
    asking: dict[str, set[str]] = {}
    for folder in ("filer", "commands", "shell"):
        for path in sorted((CHECKOUT / folder).rglob("*.py")):
            if folder == "filer" and (CHECKOUT / folder / path.parts[-2]).is_symlink():
                continue
            for function in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(function, ast.FunctionDef):
                    calls = re.findall(
                        r"\b(?:datetime\.now|datetime\.today|date\.today|time\.time)\(",
                        ast.unparse(function),
                    )
                    if calls:
                        name = str(path.relative_to(CHECKOUT))
                        asking.setdefault(name, set()).add(function.name)
    assert asking == MAY_ASK
