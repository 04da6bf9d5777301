"""The main task, in a demo."""

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pexpect
import pytest

from tests.kit.console import PATIENCE, PROGRAM, Account, Outcome, files_below

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
    """A run of ``filer --demo`` with a separate session and directory for temporary files."""

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
    """Return the lines that followed each run of ``command`` in an output with ``-x``."""
    runs = re.split(r"^filer1> ", console_log, flags=re.M)[1:]
    return [
        lines.splitlines()
        for run in runs
        for line, _, lines in [run.partition("\n")]
        if line == command
    ]


def test_the_main_job_works_in_a_demo_and_leaves_nothing_behind(demo: Demo) -> None:
    another = Demo(demo.account.home / "another")  # runs at the same time
    with another.account.pipe("--demo", environment=another.environment) as child:
        child.sendline("hostname")
        child.expect_exact("filer1")
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
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


def test_a_demo_over_ssh_says_how_to_log_in_and_leaves_nothing_behind(demo: Demo) -> None:
    with demo.account.pipe("--demo", "--ssh", "0", environment=demo.environment) as child:
        child.expect(r"Log in: (ssh -i \S+ [^\r\n]*)")
        assert isinstance(child.match, re.Match)
        log_in = child.match[1].split()
        ended = demo.account.run("hostname; keymgr list cert", program=log_in)

        assert ended.status == 0
        assert ended.out.startswith("filer1\nclient.pem:\n")
        child.proc.send_signal(signal.SIGTERM)
        child.proc.wait(PATIENCE)
    assert demo.left() == []


def test_a_demo_of_a_pair_over_ssh_has_both_nodes_and_leaves_nothing_behind(demo: Demo) -> None:
    with demo.account.pipe("--demo", "--pair", "--ssh", "0", environment=demo.environment) as child:
        log_in = {}
        for _ in range(2):
            child.expect(r"Log in to (filer[12]): (ssh -i \S+ [^\r\n]*)")
            assert isinstance(child.match, re.Match)
            log_in[child.match[1]] = child.match[2].split()

        def run(node: str, line: str) -> str:
            ended = demo.account.run(line, program=log_in[node])
            assert ended.status == 0, ended.err
            return ended.out

        for node in log_in:
            assert run(node, "hostname; keymgr list cert").startswith(f"{node}\nclient.pem:\n")
        run("filer1", "options cf.takeover.detection.seconds 1")
        while "filer2 is up.\nInterconnect is up.\n" not in run("filer1", "cf status"):
            time.sleep(0.1)
        (home,) = demo.temporary.iterdir()
        os.kill(int((home / "pair" / "filer2" / "service").read_text()), signal.SIGKILL)
        child.expect(r"filer2 has ended, status -9; start it: filer --root (\S+) --ssh (\S+)\r?\n")
        assert isinstance(child.match, re.Match)
        assert (child.match[1], child.match[2]) == (
            str(home / "pair" / "filer2"),
            f"127.0.0.1:{log_in['filer2'][-2]}",
        )
        while "filer1 has taken over filer2" not in run("filer1", "cf status"):
            time.sleep(0.1)
        first = int((home / "pair" / "filer1" / "service").read_text())
        os.kill(first, signal.SIGSTOP)  # a stopped node ends too
        child.proc.send_signal(signal.SIGTERM)
        assert child.proc.wait(PATIENCE) == 0
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
    assert demo.left() == []


def test_a_demo_of_a_pair_ends_if_a_node_cannot_start(demo: Demo) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = demo.account.run(
            "--demo", "--pair", "--ssh", str(port), environment=demo.environment
        )

    assert (ended.err, ended.status) == ("", 2)
    # The next port, that of filer2, may be taken by another test.
    names = f"filer1: cannot listen on 127.0.0.1 port {port}", f"filer2: .* port {port + 1}"
    assert re.search(f"^({'|'.join(names)}): ", ended.out, re.MULTILINE)
    assert demo.left() == []


def test_a_demo_of_a_pair_says_how_to_start_both_nodes_at_terminals(demo: Demo) -> None:
    with demo.account.pipe("--demo", "--pair", environment=demo.environment) as child:
        child.expect(r"filer --root (\S+)\r?\n  filer --root (\S+)\r?\n")
        assert isinstance(child.match, re.Match)
        for number, root in enumerate(child.match.groups(), start=1):
            ended = demo.account.run("--root", root, "-c", "hostname; keymgr list cert")
            assert ended.out.startswith(f"filer{number}\nclient.pem:\n")
        child.proc.send_signal(signal.SIGINT)
        assert child.proc.wait(PATIENCE) == 0
    assert demo.left() == []


def test_the_line_that_logs_in_works_whatever_the_directory_is_called(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    demo.temporary = tmp_path / 'a {b} {address} a%h it\'s "a" $HOME ${HOME}'
    demo.temporary.mkdir()
    with demo.account.pipe("--demo", "--ssh", "0", environment=demo.environment) as child:
        child.expect(r"Log in: ([^\r\n]*)")
        assert isinstance(child.match, re.Match)
        ended = demo.account.run(program=["sh", "-c", f"{child.match[1]} hostname"])

        assert (ended.out, ended.status) == ("filer1\n", 0)
        child.proc.send_signal(signal.SIGTERM)
        child.proc.wait(PATIENCE)
    assert demo.left() == []


def test_a_demo_does_not_touch_the_root_of_the_user(demo: Demo) -> None:
    before = files_below(demo.account.root)

    ended = demo.run("hostname\nnonsense\n")

    assert ended.out == "filer1> hostname\nfiler1\nfiler1> nonsense\n"
    assert ended.status == 1
    assert files_below(demo.account.root) == before
    assert demo.left() == []


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
