"""The main job, from a demo and by hand; and that no secret is anywhere but on the key servers."""

import base64
import os
import re
import signal
import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path

import pexpect
import pytest

from filer.certificates import CLIENT, CLIENT_PRIVATE, ca_name
from keyserver.server import KeyServer
from tests.conftest import StartKeyServers
from tests.console import (
    DISKS,
    PASSPHRASE,
    PATIENCE,
    PROGRAM,
    Account,
    Outcome,
    answers_to_setup,
    beside,
    files_below,
)

DEMO_DISKS = 12
KEY_ID = re.compile(r"^Key ID: ([0-9A-F]{64})$", re.M)
COMPLETED = (
    "Completed {verb} on {count} disks: {count} successes, 0 failures, "
    "including 0 unknown key and 0 authentication failures."
)

JOB = (
    "disk encrypt show",
    "key_manager rekey -key_tag second",
    "reboot",
    "disk encrypt show",
    "key_manager query",
)


def job(*answers: str) -> str:
    return "".join(f"{line}\n" for line in ("key_manager setup", *answers, *JOB))


class Demo:
    """A run of ``filer --demo`` in a session, and with a directory for temporary files, alone."""

    def __init__(self, home: Path) -> None:
        self.account = Account(home)
        self.temporary = home / "temporary"
        self.temporary.mkdir()

    @property
    def environment(self) -> dict[str, str]:
        return {"TMPDIR": str(self.temporary)}

    def run(self, lines: str) -> Outcome:
        file = self.account.home / "job"
        file.write_text(lines, encoding="utf-8")
        with subprocess.Popen(
            [PROGRAM, "--demo", "-x", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.account.environment(self.environment),
            start_new_session=True,
        ) as started:
            out, err = started.communicate(timeout=PATIENCE)
        with pytest.raises(ProcessLookupError):
            os.killpg(started.pid, 0)
        return Outcome(out, err, started.returncode)

    def left(self) -> list[str]:
        return [path.name for path in self.temporary.iterdir()]


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    return Demo(tmp_path / "home")


def output_of(command: str, console_log: str) -> list[list[str]]:
    """Return the lines that followed each run of ``command`` in what ``-x`` printed."""
    runs = re.split(r"^filer1> ", console_log, flags=re.M)[1:]
    return [
        lines.splitlines()
        for run in runs
        for line, _, lines in [run.partition("\n")]
        if line == command
    ]


def test_the_main_job_works_in_a_demo_and_leaves_nothing_behind(demo: Demo) -> None:
    ended = demo.run(job("127.0.0.2", "127.0.0.3", "q", "", "", "", "", "yes"))

    assert (ended.err, ended.status) == ("", 0)
    first, second = KEY_ID.findall(ended.out)
    assert first != second
    for verb, times in (("rekey", 2), ("lock", 1)):
        assert ended.out.count(COMPLETED.format(verb=verb, count=DEMO_DISKS)) == times
    before, after = output_of("disk encrypt show", ended.out)
    for rows, key_id in ((before, first), (after, second)):
        assert rows[0].split() == ["Disk", "Key", "ID", "Locked?"]
        assert [row.split() for row in rows[1:]] == [
            [f"0c.00.{number}", key_id, "Yes"] for number in (range(DEMO_DISKS))
        ]
    (query,) = output_of("key_manager query", ended.out)
    assert not any("*" in row for row in query)
    assert [row for row in query if row.startswith("Key server ")] == [
        "Key server 127.0.0.2 reports 2 keys.",
        "Key server 127.0.0.3 reports 2 keys.",
    ]
    assert [row.split() for row in query if row.startswith("second ")] == [["second", second]] * 2
    assert demo.left() == []


def test_a_demo_that_fails_leaves_nothing_behind(demo: Demo) -> None:
    ended = demo.run("nonsense\n")

    assert ended.status == 1
    assert demo.left() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_demo_that_is_told_to_end_leaves_nothing_behind(
    demo: Demo, number: signal.Signals
) -> None:
    with demo.account.pipe("--demo", environment=demo.environment) as child:
        child.sendline("hostname")
        child.expect_exact("filer1")
        assert demo.left() != []
        child.kill(number)
        child.expect(pexpect.EOF)

        assert (child.before or "").strip() == ""
        assert child.proc.wait() == 128 + number
    assert demo.left() == []


def test_a_demo_does_not_touch_the_root_of_the_user(demo: Demo) -> None:
    before = files_below(demo.account.root)

    assert demo.run("hostname\n") == ("filer1> hostname\nfiler1\n", "", 0)

    assert files_below(demo.account.root) == before


def test_a_demo_at_a_terminal_says_in_three_lines_what_to_type(demo: Demo) -> None:
    with demo.account.terminal("--demo", environment=demo.environment) as terminal:
        greeting = terminal.wait_for_prompt().splitlines()
        assert terminal.prompt == "filer1>"
        assert terminal.leave() == 0

    hints = [line for line in greeting if not line.startswith(("raid: ", "kmip_init: "))]
    assert len(hints) == 3
    assert "127.0.0.2 and 127.0.0.3" in hints[0]
    assert "key_manager setup" in hints[1]
    assert demo.left() == []


def test_two_demos_run_beside_each_other(demo: Demo) -> None:
    with demo.account.pipe("--demo", environment=demo.environment) as child:
        child.sendline("hostname")
        child.expect_exact("filer1")

        ended = Demo(demo.account.home / "another").run(
            job("127.0.0.2", "127.0.0.3", "q", "", "", "", "", "yes")
        )

        assert (ended.err, ended.status) == ("", 0)


def secrets_on(server: KeyServer) -> dict[str, bytes]:
    """Read every key of a key server with PyKMIP's own client: key ID and secret."""
    with warnings.catch_warnings(action="ignore"):
        from kmip.pie.client import ProxyKmipClient

        client = ProxyKmipClient(
            hostname=server.address,
            port=server.port,
            cert=str(server.directory / CLIENT),
            key=str(server.directory / CLIENT_PRIVATE),
            ca=str(server.directory / ca_name(server.address)),
            ssl_version="PROTOCOL_TLS",
        )
        with client:
            found = [
                (client.get_attributes(identifier, ["Name"])[1][0], client.get(identifier))
                for identifier in client.locate()
            ]
    return {str(name.attribute_value.name_value.value): secret.value for name, secret in found}


def forms_of(secret: bytes) -> Sequence[bytes]:
    """Return how a secret might be written."""
    return (secret, secret.hex().encode(), base64.b64encode(secret), repr(secret)[2:-1].encode())


def test_keys_are_in_no_output_and_no_file_but_the_stores_of_the_key_servers(
    tmp_path: Path, key_servers: StartKeyServers
) -> None:
    servers = key_servers(2)
    account = beside(servers, tmp_path / "home")
    manual = ("key_manager rekey -manual -key_tag third", PASSPHRASE, PASSPHRASE)
    lines = (*job(*answers_to_setup(servers)).splitlines(), *manual, "key_manager restore -all")

    script = account.script(*lines, "rdfile /etc/messages", echo=True)
    with account.terminal() as terminal:
        terminal.booted().enter("key_manager rekey")
        terminal.enter("key_manager query")
        assert terminal.leave() == 0

    assert (script.err, script.status) == ("", 0)
    secrets = secrets_on(servers[0])
    assert secrets == secrets_on(servers[1])
    assert len(secrets) == 4
    assert PASSPHRASE.encode() in secrets.values()
    assert set(KEY_ID.findall(script.out)) <= set(secrets)
    for server in servers:
        server.stop()
    kept = {path: path.read_bytes() for path in files_below(tmp_path)}
    assert sum(path.suffix == ".sed" for path in kept) == DISKS
    told = f"{script.out}{terminal.seen}".encode()
    for secret in secrets.values():
        holders = [
            path for path, data in kept.items() if any(form in data for form in forms_of(secret))
        ]
        assert sorted(holders) == sorted(server.store for server in servers)
        assert not any(form in told for form in forms_of(secret))
