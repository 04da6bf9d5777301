"""Outputs of general commands that are known from real filers, with their exact columns."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from filer import BUILT, __version__
from filer.commands.system import Uptime
from filer.disks.record import Owner
from tests.kit import manual
from tests.kit.house import House
from tests.kit.manual import Build
from tests.kit.paths import CHECKOUT

build, house = manual.build, manual.house

OPERATIONS = "0 NFS ops, 0 CIFS ops, 0 HTTP ops, 0 FCP ops, 0 iSCSI ops"


@pytest.mark.parametrize(
    ("hour", "minute", "up", "line"),
    [
        (10, 17, timedelta(minutes=13), " 10:17am up 13 mins, "),
        (17, 0, timedelta(days=4, hours=5, minutes=39), "  5:00pm up  4 days,  5:39 "),
        (0, 5, timedelta(days=12, hours=15), " 12:05am up 12 days, 15:00 "),
        (12, 0, timedelta(hours=2, minutes=4), " 12:00pm up  2:04, "),
        (9, 59, timedelta(seconds=59), "  9:59am up 0 mins, "),
    ],
)
def test_uptime_has_the_columns_of_a_real_filer(
    hour: int, minute: int, up: timedelta, line: str
) -> None:
    now = datetime(2026, 11, 27, hour, minute, tzinfo=UTC)
    assert [*Uptime.of(now, now - up).lines()] == [f"{line}{OPERATIONS}"]


def test_version_has_the_build_date_of_this_version(house: House) -> None:
    built = datetime.fromisoformat(BUILT)
    line = f"NetApp Release 8.2.5 7-Mode: {built:%a %b %e %H:%M:%S %Z %Y}"
    assert house.good("version") == f"{line}\n"
    assert re.search(r"7-Mode: Fri Nov 27 \d\d:\d\d:\d\d UTC 2026$", line)
    assert house.good("sysconfig").startswith(f"\t{line}\n")
    changelog = (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{__version__}] - {built:%F}\n" in changelog


def test_sysconfig_names_the_partner(build: Build) -> None:
    house = build(0)
    partner = "System ID: 1573922407 (filer1); partner ID: 1573922311 (filer2)"
    assert house.good("sysconfig").splitlines()[1] == f"\t{partner}"


def test_sysconfig_names_no_partner_where_there_is_none(build: Build) -> None:
    house = build(0, partner_id=0)
    assert house.good("sysconfig").splitlines()[1] == "\tSystem ID: 1573922407 (filer1)"


MEMBERS = """\
Aggregate aggr0 (online, raid_dp) (block checksums)
  Plex /aggr0/plex0 (online, normal, active)
    RAID group /aggr0/plex0/rg0 (normal, block checksums)

      RAID Disk Device  HA  SHELF BAY CHAN Pool Type  RPM  Used (MB/blks)    Phys (MB/blks)
      --------- ------  ------------- ---- ---- ---- ----- --------------    --------------
      dparity   0c.00.0         0c    0   0   SA:A   0  SED    N/A 1/2048            1/2048
      parity    0c.00.1         0c    0   1   SA:A   0  SED    N/A 1/2048            1/2048
      data      0c.00.2         0c    0   2   SA:A   0  SED    N/A 1/2048            1/2048
"""
HEADER = """\
RAID Disk       Device  HA  SHELF BAY CHAN Pool Type  RPM  Used (MB/blks)    Phys (MB/blks)
---------       ------  ------------- ---- ---- ---- ----- --------------    --------------
"""


@pytest.mark.parametrize("command", ["sysconfig -r", "aggr status -r"])
def test_the_raid_layout_has_the_blocks_of_a_real_filer(build: Build, command: str) -> None:
    house = build(0, disks=7)
    house.filer.shelf["0c.00.4"].assign(Owner(1573922311))
    house.filer.shelf["0c.00.5"].assign(Owner(77))
    house.good("disk encrypt destroy 0c.00.6", "destroy disk")
    row = "0c.00.{0}         0c    0   {0}   SA:A   0  SED    N/A {1:<17} 1/2048"
    assert house.good(command) == (
        f"{MEMBERS}"
        f"\nSpare disks\n\n{HEADER}Spare disks for block checksum\n"
        f"spare           {row.format(3, '1/2048')}\n"
        f"\nBroken disks\n\n{HEADER}failed          {row.format(6, '1/2048')}\n"
        f"\nPartner disks\n\n{HEADER}partner         {row.format(4, '0/0')}\n"
        f"\nDisks of unknown or other owners\n\n{HEADER}"
        f"foreign         {row.format(5, '1/2048')} (77)\n"
    )


def test_each_privilege_has_its_warning_and_its_prompt(build: Build) -> None:
    house = build(0)
    assert house.session.prompt == "filer1>"
    assert house.good("priv set diag") == (
        "Warning: These diagnostic commands are for use by Network Appliance\n"
        "         personnel only.\n"
    )
    assert house.session.prompt == "filer1*>"
    assert house.good("priv set advanced") == (
        "Warning: These advanced commands are potentially dangerous; use\n"
        "         them only when directed to do so by NetApp\n"
        "         personnel.\n"
    )
    assert house.session.prompt == "filer1*>"
    for line in ("priv set admin", "priv set"):
        house.run("priv set diag")
        assert house.good(line) == ""
        assert house.session.prompt == "filer1>"


def test_etc_rc_and_etc_hosts_show_the_settings(build: Build) -> None:
    house = build(0)
    for prefix in ("", "/mroot"):
        assert house.good(f"rdfile {prefix}/etc/rc") == "hostname filer1\n"
        assert house.good(f"rdfile {prefix}/etc/hosts") == "127.0.0.1 localhost\n"
    assert not (house.root / "mroot/etc/rc").exists()
    house.power_off()
    house.filer = house.machine.power_on(
        {
            "kmip.init.ipaddr": "10.1.2.3",
            "kmip.init.netmask": "255.255.255.0",
            "kmip.init.gateway": "10.1.2.1",
        }
    )
    assert house.good("rdfile /etc/rc") == (
        "hostname filer1\n"
        "ifconfig e0M `hostname`-e0M netmask 255.255.255.0\n"
        "route add default 10.1.2.1 1\n"
    )
    assert house.good("rdfile /etc/hosts") == ("127.0.0.1 localhost\n10.1.2.3 filer1 filer1-e0M\n")


def test_a_file_of_that_name_is_printed_instead(build: Build) -> None:
    house = build(0)
    (house.root / "mroot/etc/rc").write_text("# mine\n")
    (house.root / "mroot/etc/hosts").symlink_to("nowhere")
    assert house.good("rdfile /etc/rc") == "# mine\n"
    assert house.bad("rdfile /etc/hosts").startswith("rdfile: /etc/hosts: ")
    assert house.bad("rdfile /etc/rcs").startswith("rdfile: /etc/rcs: ")
    assert house.bad("rdfile rc").startswith("rdfile: rc: ")
