"""The command audit, on a real filer."""

import json

import pytest

from pytest_filer import FilerUnderTest

SETUP = ("key_manager setup", "127.0.0.2", "q", "", "", "", "", "yes")


@pytest.mark.filer(key_servers=1, disks=4)
def test_an_audit_finds_what_is_not_locked(filer: FilerUnderTest) -> None:
    assert "audit: 0c.00.3 is not locked" in filer.run("audit disks 0c.00.3", status=1)
    filer.run(*SETUP)
    assert "4 of 4 disks are locked." in filer.run("audit disks")


@pytest.mark.filer(key_servers=0, disks=4, options=("--format", "json"))
def test_programs_get_its_fields(filer: FilerUnderTest) -> None:
    audit = json.loads(filer.run("audit disks", status=1).splitlines()[-1])
    assert audit["results"] == [{"type": "filer_audit", "locked": 0, "disks": 4}]


@pytest.mark.filer(key_servers=0, disks=4)
def test_an_audit_is_signed_in_the_system_log(filer: FilerUnderTest) -> None:
    assert "audit: not signed" in filer.run("audit sign", "", status=1)
    filer.run("audit sign", "Alice")
    assert "signed by Alice" in filer.run("rdfile /etc/messages")


@pytest.mark.filer(key_servers=0, disks=4)
def test_it_has_a_manual_page(filer: FilerUnderTest) -> None:
    assert "writes it into the system log" in filer.run("man audit")
