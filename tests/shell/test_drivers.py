"""Programs that drive the console stay in step: each output comes exactly before the next prompt.

The idiom of expect, ``sendline(command); expect("filer1> ")``, with each of the usual clients, with
every value of TERM, at a local terminal and over SSH.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pexpect
import pytest

from filer.shell.prompt.keyboard import LATE, PATIENCE, QUESTION
from tests.kit.console import PATIENCE as LIMIT
from tests.kit.console import PROGRAM, Account
from tests.kit.points import ALL, paired
from tests.kit.remote import PASSWORD, Remote

PROMPT = "filer1> "
TERMS = ("xterm-256color", "xterm", "vt100", "screen-256color", "linux", "dumb", "", None)
"""Values of TERM; None: unset."""

NUMBER = 200 if ALL else 100
ONE_OF_EACH = TERMS if ALL else ("xterm-256color", "dumb")

Exchange = tuple[str, str]
"""A line, and its output."""

UNKNOWN = "word{} not found.  Type '?' for a list of commands"
COMMANDS: list[Exchange] = [
    ("hostname", "filer1")
    if number % 4 == 0
    else ("key_manager show", "No key servers are registered.")
    if number % 4 == 1
    else (f"word{number}", UNKNOWN.format(number))
    for number in range(NUMBER)
]

Enter = Callable[[str], str]
"""Sends a line, and returns the text before the next prompt."""


def environment(account: Account, term: str | None) -> dict[str, str]:
    named = {} if term is None else {"TERM": term}
    return account.environment(named)


def where(account: Account, remote: Remote, place: str) -> list[str]:
    return [PROGRAM] if place == "here" else remote.client("-tt")


def check(enter: Enter, *, pause: bool = False) -> None:
    """Enter all commands. With a ``pause`` the terminal's answer is no longer expected."""
    for number, (line, output) in enumerate(COMMANDS):
        if pause and number == NUMBER // 2:
            time.sleep(PATIENCE + LATE + 0.1)
        assert enter(line) == f"{line}\r\n{output}\r\n"


def spawn(
    program: list[str], account: Account, term: str | None, delay: float | None
) -> "pexpect.spawn[str]":
    child: pexpect.spawn[str] = pexpect.spawn(
        program[0],
        program[1:],
        cwd=account.home,
        env=environment(account, term),
        timeout=LIMIT,
        encoding="utf-8",
    )
    child.delaybeforesend = delay
    return child


def entering(child: "pexpect.spawn[str]") -> Enter:
    def enter(line: str) -> str:
        child.sendline(line)
        child.expect_exact(PROMPT)
        return str(child.before)

    return enter


@paired(("place", ["here", "ssh"]), ("term", TERMS))
def test_pexpect(account: Account, remote: Remote, term: str | None, place: str) -> None:
    with closing(spawn(where(account, remote, place), account, term, None)) as child:
        child.expect_exact(PROMPT)
        asked = str(child.before).count(QUESTION)
        check(entering(child), pause=term == "xterm-256color" or ALL)
        child.sendline("exit")
        child.expect(pexpect.EOF)

    if place == "here":  # OpenSSH's client replaces an empty TERM by dumb
        assert asked == (term not in ("dumb", "", None))
    assert "\x1b" not in str(child.before)


@pytest.mark.sampled
@pytest.mark.parametrize("place", ["here", *(["ssh"] if ALL else [])])
@pytest.mark.parametrize("term", TERMS if ALL else TERMS[:1])
def test_pexpect_with_its_usual_delay(
    account: Account, remote: Remote, term: str | None, place: str
) -> None:
    with closing(spawn(where(account, remote, place), account, term, 0.05)) as child:
        child.expect_exact(PROMPT)
        check(entering(child))


def test_pexpect_without_an_echo(account: Account) -> None:
    with closing(spawn([PROGRAM], account, "xterm", None)) as child:
        child.setecho(False)  # before the program checks it
        child.expect_exact(PROMPT)
        for line, output in COMMANDS[:20]:
            assert entering(child)(line) == f"{output}\r\n"
        time.sleep(PATIENCE + LATE)
        for line, output in COMMANDS[:20]:
            assert entering(child)(line) == f"{output}\r\n"


def test_lines_that_are_sent_ahead_are_shown_once_each(account: Account) -> None:
    lines = ["hostname", "word1", "hostname", "word2"]
    with closing(spawn([PROGRAM], account, "xterm", None)) as child:
        for prompts in (1 + len(lines), len(lines)):
            child.send("".join(f"{line}\n" for line in lines))
            shown = ""
            for _ in range(prompts):
                child.expect_exact(PROMPT)
                shown += str(child.before)

            for line in lines:
                assert shown.count(f"{line}\r\n") == lines.count(line)
            assert shown.count("filer1\r\n") == 2
            time.sleep(PATIENCE + LATE)


TCL = """
set timeout 60
set number [lindex $argv 0]
eval spawn -noecho [lrange $argv 1 end]
expect {
    "filer1> " {}
    default {puts "no prompt"; exit 1}
}
for {set n 0} {$n < $number} {incr n} {
    if {$n == 20} {after 2200}
    send "word$n\\r"
    expect {
        "filer1> " {}
        default {puts "lost at $n"; exit 1}
    }
    set wanted "word$n\\r\\nword$n not found.  Type '?' for a list of commands\\r\\nfiler1> "
    if {$expect_out(buffer) ne $wanted} {puts "wrong at $n: $expect_out(buffer)"; exit 1}
}
send "exit\\r"
expect eof
"""


@pytest.mark.parametrize("place", ["here", "ssh"])
@pytest.mark.parametrize("term", TERMS)
def test_tcl_expect(account: Account, remote: Remote, term: str | None, place: str) -> None:
    if place == "ssh" and term not in ONE_OF_EACH:
        pytest.skip("make test-all")
    script = account.home / "drive.exp"
    script.write_text(TCL, encoding="utf-8")
    ended = subprocess.run(
        ["expect", str(script), str(NUMBER), *where(account, remote, place)],
        env=environment(account, term),
        capture_output=True,
        timeout=LIMIT * 10,  # for all the commands
        check=False,
    )

    assert ended.returncode == 0, ended.stdout[-500:]


@pytest.mark.parametrize("term", ONE_OF_EACH)
def test_pxssh(remote: Remote, term: str | None) -> None:
    from pexpect.pxssh import pxssh

    client: pxssh[str] = pxssh(
        env=environment(remote.account, term),
        options={"UserKnownHostsFile": str(remote.account.home / "known_hosts")},
        encoding="utf-8",
        timeout=LIMIT,
    )
    with closing(client):
        client.login(
            remote.address,
            "root",
            port=remote.port,
            ssh_key=str(remote.key),
            original_prompt=PROMPT,
            auto_prompt_reset=False,
        )
        client.PROMPT = PROMPT
        client.delaybeforesend = None

        def enter(line: str) -> str:
            client.sendline(line)
            assert client.prompt()
            return str(client.before)

        check(enter)


def test_netmiko(remote: Remote) -> None:
    from netmiko import ConnectHandler

    with ConnectHandler(device_type="generic", host=remote.address, **remote.login) as console:
        for line, output in COMMANDS:
            assert console.send_command(line, expect_string=PROMPT.strip()) == output


@pytest.mark.parametrize("term", TERMS[:-1])
def test_paramiko(remote: Remote, term: str) -> None:
    import paramiko

    with paramiko.SSHClient() as client:
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(remote.address, look_for_keys=False, allow_agent=False, **remote.login)
        with closing(client.invoke_shell(term=term)) as channel:
            channel.settimeout(LIMIT)
            buffer = ""

            def read() -> str:
                nonlocal buffer
                while PROMPT not in buffer:
                    buffer += channel.recv(65536).decode()
                before, _, buffer = buffer.partition(PROMPT)
                return before

            def enter(line: str) -> str:
                channel.send(f"{line}\n".encode())
                return read()

            read()
            check(enter, pause=term == "vt100" or ALL)


@pytest.mark.parametrize("transport", ["system", "paramiko"])
def test_scrapli(remote: Remote, transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from scrapli.driver import GenericDriver

    monkeypatch.setenv("TERM", "xterm-256color")
    with GenericDriver(
        host=remote.address,
        port=remote.port,
        auth_username="root",
        auth_password=PASSWORD,
        auth_private_key=str(remote.key),
        auth_strict_key=False,
        ssh_config_file=False,
        transport=transport,
        comms_prompt_pattern=r"^filer1\*?> ?$",
        timeout_ops=LIMIT,
    ) as console:
        for line, output in COMMANDS:
            assert console.send_command(line).result == output


@pytest.mark.sampled
@pytest.mark.parametrize("place", ["here", *(["ssh"] if ALL else [])])
@pytest.mark.parametrize("term", TERMS if ALL else TERMS[:1])
@pytest.mark.parametrize("echo", [False, True] if ALL else [False])
def test_ansible(
    account: Account, remote: Remote, term: str | None, place: str, *, echo: bool
) -> None:
    sent = [*(line for line, _ in COMMANDS), "exit"]
    arguments = {
        "command": " ".join(where(account, remote, place)),
        "responses": {PROMPT: sent},
        "timeout": LIMIT,
        "echo": echo,
    }
    ended = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("ansible")), "localhost", "-c", "local"),
            *("-m", "ansible.builtin.expect", "-a", json.dumps(arguments)),
            *("-e", f"ansible_python_interpreter={sys.executable}"),
        ],
        cwd=account.home,
        env=environment(account, term)
        | {"ANSIBLE_LOCAL_TEMP": str(account.home), "ANSIBLE_REMOTE_TEMP": str(account.home)},
        capture_output=True,
        text=True,
        timeout=LIMIT * 10,  # for all the commands
        check=False,
    )

    result = json.loads(ended.stdout.partition(" => ")[2])
    said = result["stdout"].replace("\r\n", "\n").partition(PROMPT)[2]
    shown = [f"{line}\n" if echo or place == "ssh" else "" for line in sent]
    outputs = [f"{output}\n" for _, output in COMMANDS]
    exchanges = "".join(
        f"{line}{output}{PROMPT}" for line, output in zip(shown, outputs, strict=False)
    )
    assert said.startswith(exchanges)
