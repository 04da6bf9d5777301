"""The console over SSH: one filer, several users, and the usual clients."""

import os
import re
import resource
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import count, cycle, islice, product
from pathlib import Path
from typing import Any, cast

import pexpect
import pytest

from filer.host.durable import Storage
from filer.keyserver.server import KeyServer
from filer.root import Root
from filer.shell.prompt.keyboard import QUESTION
from filer.shell.ssh.access import HOST_KEYS
from tests.conftest import StartKeyServers
from tests.kit import faulty
from tests.kit.console import (
    DISKS,
    OTHER_PASSPHRASE,
    PASSPHRASE,
    PATIENCE,
    PROGRAM,
    SMALL_SHELF,
    Account,
    Child,
    Terminal,
    answers_to_setup,
    beside,
    editing,
    plain,
    prepare,
)
from tests.kit.faulty import FaultyKeyServer, hold
from tests.kit.house import House
from tests.kit.imports import loaded_by
from tests.kit.points import some
from tests.kit.remote import (
    PASSWORD,
    Remote,
    clients_of,
    connect,
    give_access,
    make_key,
    serving,
)

servers, server = faulty.servers(1), faulty.server

NOTHING_REGISTERED = "No key servers are registered.\n"


@pytest.fixture
def encrypted(server: FaultyKeyServer, tmp_path: Path) -> Iterator[Remote]:
    """A running filer with a key server, whose disks are locked."""
    account = beside([server], tmp_path / "home")
    prepare(account, [server], ("key_manager setup", *answers_to_setup([server])))
    with serving(account) as remote:
        yield remote


# One command.


def test_one_command_prints_its_output_and_nothing_else(remote: Remote) -> None:
    assert remote.run("hostname") == ("filer1\n", "", 0)


def test_a_command_of_several_lines_is_read_as_a_script_is(remote: Remote) -> None:
    lines = "host\\\nname\nnonsense\nkey_manager \\\nshow"
    unknown = "nonsense not found.  Type '?' for a list of commands\n"

    assert remote.run(lines) == (f"filer1\n{NOTHING_REGISTERED}", unknown, 1)


def test_a_failure_is_status_1_and_on_standard_error(remote: Remote) -> None:
    assert remote.run("key_manager status") == ("", NOTHING_REGISTERED, 1)


@pytest.mark.parametrize("leaving", ["exit", "logout"])
def test_a_failure_before_the_end_is_not_forgotten(remote: Remote, leaving: str) -> None:
    assert remote.run(leaving).status == 0
    assert remote.run(f"bad; {leaving}").status == 1
    assert remote.run(input=f"bad\n{leaving}\n").status == 1
    assert remote.run(input=f"bad; {leaving}\n").status == 1
    with remote.terminal(f"bad; {leaving}") as terminal:
        assert terminal.end() == 1
    with remote.terminal() as terminal:
        terminal.booted().type(f"bad; {leaving}\r")
        assert terminal.end() == 0


def test_a_failure_before_the_power_goes_is_not_forgotten(account: Account) -> None:
    with serving(account) as remote:
        for words, text, status in (
            (("bad; reboot",), "", 1),
            ((), "bad\nreboot\n", 1),
            ((), "reboot\n", 0),
        ):
            assert remote.run(*words, input=text).status == status
            remote.again()
        assert remote.run("bad; halt").status == 1


def test_an_unknown_command_is_no_command_of_the_host(remote: Remote) -> None:
    unknown = "not found.  Type '?' for a list of commands\n"

    assert remote.run("uname -a") == ("", f"uname {unknown}", 1)
    assert remote.run("/bin/sh") == ("", f"/bin/sh {unknown}", 1)
    assert remote.run("$(id)") == ("", f"$(id) {unknown}", 1)


def test_one_command_takes_the_answers_of_a_dialogue_from_standard_input(
    key_servers: StartKeyServers, tmp_path: Path
) -> None:
    servers: list[KeyServer] = key_servers(1)
    answers = answers_to_setup(servers, passphrases=[PASSPHRASE, PASSPHRASE])
    with serving(beside(servers, tmp_path / "home")) as remote:
        ended = remote.run("key_manager setup", input="".join(f"{each}\n" for each in answers))
        shown = remote.run("disk encrypt show").out

        assert (ended.err, ended.status) == ("", 0)
        assert f"Completed lock on {DISKS} disks: {DISKS} successes" in ended.out
        assert PASSPHRASE not in ended.out + remote.log
        assert shown.count(" Yes\n") == DISKS


def test_end_of_input_in_a_question_is_a_failed_command(remote: Remote) -> None:
    ended = remote.run("disk encrypt sanitize -all")

    assert ended.err.endswith("disk: end of input\n")
    assert ended.status == 1


def test_one_command_at_a_terminal_asks_the_person(encrypted: Remote) -> None:
    line = "key_manager rekey -manual"
    questions = ("Please enter a new passphrase:", "Please reenter the new passphrase:")
    with encrypted.terminal(line) as terminal:
        for question in questions:
            assert terminal.wait_for_prompt().strip() == ""
            assert terminal.prompt == question
            terminal.type(f"{OTHER_PASSPHRASE}\r")
        terminal.shows("Completed rekey on")

        assert terminal.end() == 0
        assert OTHER_PASSPHRASE not in terminal.seen

    keys = encrypted.account.root / "ssh" / "authorized_keys"
    text = keys.read_text(encoding="ascii")
    forced = text.replace("ssh-", f'command="{line}" ssh-', 1)
    for words, authorized in (((line,), text), ((), forced)):  # a person with the editor
        keys.write_text(authorized, encoding="ascii")
        with encrypted.screen(*words) as person:
            for question in questions:
                person.shows_typed(question)
                person.type(f"{OTHER_PASSPHRASE}\r")
            person.shows("Completed rekey on")

            assert Terminal(person.child).end() == 0
            assert OTHER_PASSPHRASE not in person.text


# A script.


def test_a_script_runs_as_it_does_from_a_pipe(remote: Remote) -> None:
    script = "hostname\nnonsense\nkey_manager show\n"

    ended = remote.run(input=script)

    assert ended == (
        f"filer1\n{NOTHING_REGISTERED}",
        "nonsense not found.  Type '?' for a list of commands\n",
        1,
    )


def test_each_line_of_a_script_is_run_as_it_arrives(remote: Remote) -> None:
    with subprocess.Popen(
        remote.client("-T"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=remote.account.environment(),
        text=True,
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        for line, output in (("hostname", "filer1\n"), ("key_manager show", NOTHING_REGISTERED)):
            client.stdin.write(f"{line}\n")
            client.stdin.flush()
            assert client.stdout.readline() == output
        client.stdin.close()

        assert client.wait(PATIENCE) == 0


def test_a_passphrase_is_not_run_when_its_dialogue_never_began(remote: Remote) -> None:
    ended = remote.run(input=f"key_manager rekey -manual\n{PASSPHRASE}\n{PASSPHRASE}\nhostname\n")

    assert ended.out == "filer1\n"
    assert PASSPHRASE not in ended.err + remote.log


def test_a_long_script_and_a_long_output_lose_nothing(remote: Remote) -> None:
    line = f"# {'-' * 100}\n"  # together more than any buffer on the way
    log = "0123456789abcde\n" * 2**18
    path = remote.account.root / "mroot" / "etc" / "long"
    path.write_text(log, encoding="ascii")

    assert remote.run(input=line * 10_000 + "hostname\n") == ("filer1\n", "", 0)
    assert remote.run("rdfile /etc/long").out == log


# A person.


def test_a_person_has_the_prompt_with_completion_and_history(remote: Remote) -> None:
    with editing(remote.account, program=remote.client("-tt")) as terminal:
        assert terminal.booted().enter("hostname") == "filer1\n"
        terminal.type("key_man\t")
        terminal.shows("ager")
        terminal.type("sho\t")
        terminal.shows("w")
        assert terminal.enter() == NOTHING_REGISTERED
        assert terminal.enter("history").split() == [
            *("1", "hostname", "2", "key_manager", "show", "3", "history")
        ]
        terminal.type("\x1b[A\x1b[A\x1b[A")
        terminal.shows("hostname")
        assert terminal.enter().endswith("filer1\n")
        terminal.type("exit\r")

        assert terminal.end() == 0
    assert not remote.account.history.exists()


def test_ctrl_d_leaves_and_ctrl_c_does_not(remote: Remote) -> None:
    with remote.terminal() as terminal:
        terminal.booted().type("nonsense\x03")
        terminal.wait_for_prompt()

        assert terminal.enter("hostname") == "filer1\n"
        assert terminal.leave() == 0


def test_the_size_of_the_window_is_followed(remote: Remote) -> None:
    with remote.terminal(columns=40) as terminal:
        narrow = terminal.booted().enter("?")
        terminal.child.setwinsize(24, 200)
        terminal.type("\x03")
        terminal.wait_for_prompt()
        wide = terminal.enter("?")

    assert len(wide.splitlines()) < len(narrow.splitlines())
    assert max(map(len, narrow.splitlines())) <= 40


def test_a_long_page_is_printed_without_a_program_of_the_host(remote: Remote) -> None:
    with remote.terminal() as terminal:
        page = terminal.booted().enter("man key_manager")

    assert "key_manager rekey" in page
    assert len(page.splitlines()) > 100


@pytest.mark.parametrize("term", ["dumb", "vt100"])
def test_a_plain_terminal_has_lines_without_control_sequences(remote: Remote, term: str) -> None:
    with remote.terminal(term=term) as terminal:
        terminal.shows("filer1> ")
        terminal.type("hostname\r")
        terminal.shows("\r\nfiler1\r\nfiler1> ")
        terminal.type("nonsense\x03")
        terminal.shows("\r\nfiler1> ")
        terminal.type("key_manager show\r")
        terminal.shows(f"\r\n{NOTHING_REGISTERED.strip()}\r\nfiler1> ")

        asked = [] if term == "dumb" else [QUESTION]
        assert re.findall("\x1b.*?n", terminal.seen) == asked
        assert terminal.leave() == 0


def test_a_passphrase_is_shown_nowhere(encrypted: Remote) -> None:
    for term in ("xterm", "dumb", "vt100"):
        with encrypted.terminal(term=term) as terminal:
            terminal.shows("filer1>")
            terminal.type("key_manager rekey -manual\r")
            terminal.shows("enter a new passphrase:")
            terminal.type(f"{OTHER_PASSPHRASE}\r{OTHER_PASSPHRASE}\r")
            terminal.shows("Completed rekey on")
            terminal.shows("filer1>")
            terminal.type("history\r")
            terminal.shows("history")
            terminal.shows("filer1>")

            assert terminal.leave() == 0
            assert "New passphrase accepted." in terminal.seen
            assert OTHER_PASSPHRASE not in terminal.seen + encrypted.log


# Several people.


def test_privilege_and_history_are_of_one_session(remote: Remote) -> None:
    with remote.terminal() as one, remote.terminal() as two:
        one.booted().enter("priv set advanced")
        two.booted().enter("hostname")

        assert (one.prompt, two.prompt) == ("filer1*>", "filer1>")
        assert "priv" not in two.enter("history")


def test_a_second_change_is_refused_and_reading_goes_on_and_shows_the_first(
    encrypted: Remote, server: FaultyKeyServer
) -> None:
    held = hold(server, "REGISTER")
    busy = 'busy: "key_manager rekey" of root from 127.0.0.1 is running\n'
    with encrypted.terminal() as terminal:
        terminal.booted().type("key_manager rekey\r")
        assert held.reached.wait(PATIENCE)

        assert encrypted.run("key_manager rekey") == ("", f"key_manager: {busy}", 1)
        assert encrypted.run("disk encrypt lock '*'") == ("", f"disk: {busy}", 1)
        assert 'did you mean "-manual"?' in encrypted.run("key_manager rekey -manaul").err
        assert encrypted.run("disk encrypt show").status == 0
        assert encrypted.run("sysconfig -r; aggr status; keymgr list cert; uptime").status == 0
        held.release()

        assert f"Completed rekey on {DISKS} disks: {DISKS} suc" in terminal.wait_for_prompt()
        assert terminal.enter("disk encrypt show").count(" Yes\n") == DISKS
        assert encrypted.run("disk encrypt rekey 0x0 '*'").status == 0
        assert terminal.enter("disk encrypt show").count(" No\n") == DISKS


def test_a_question_that_waits_holds_the_turn_until_it_is_given_up(remote: Remote) -> None:
    with remote.terminal() as terminal:
        terminal.booted().enter("disk encrypt sanitize -all")
        refused = remote.run("disk encrypt lock '*'")
        terminal.type("\x03")
        terminal.shows("disk: interrupted")
        freed = remote.run("disk encrypt lock '*'")

    assert 'busy: "disk encrypt sanitize" of root from 127.0.0.1 is running' in refused.err
    assert "busy" not in freed.err


def test_ctrl_c_stops_the_command_of_its_own_session_only(
    encrypted: Remote, server: FaultyKeyServer
) -> None:
    held = [hold(server, "LOCATE")]
    with encrypted.terminal() as one, encrypted.terminal() as two:
        one.booted().type("key_manager query\r")
        assert held[0].reached.wait(PATIENCE)
        held.append(hold(server, "LOCATE"))
        two.booted().type("key_manager query\r")
        assert held[1].reached.wait(PATIENCE)

        one.type("\x03")
        interrupted = one.wait_for_prompt()
        assert one.enter("hostname") == "filer1\n"
        for each in held:
            each.release()
        finished = two.wait_for_prompt()

    assert "key_manager: interrupted\n" in interrupted
    assert "Key server 127.0.0.2 reports 1 keys." in finished


def test_twenty_connections_at_once(remote: Remote) -> None:
    with ThreadPoolExecutor(20) as pool:
        ended = list(pool.map(lambda number: remote.run(f"logger n{number}; hostname"), range(20)))

    assert ended == [("filer1\n", "", 0)] * 20
    assert set(re.findall(r":logger\.usr:notice\]: n(\d+)\n", remote.log)) >= set(
        map(str, range(20))
    )


# Lost connections.


def lose(terminal: Any) -> None:
    """Kill the client, as a power failure does."""
    terminal.child.kill(signal.SIGKILL)
    terminal.child.wait()


def wait_until(remote: Remote, command: str) -> None:
    """Run ``command`` until it succeeds; each attempt asks the filer itself."""
    for _ in range(PATIENCE * 10):
        if remote.run(command).status == 0:
            return
    pytest.fail(f"{command} never succeeded")


def test_a_connection_lost_in_a_dialogue_frees_the_turn(remote: Remote) -> None:
    with remote.terminal() as terminal:
        terminal.booted().enter("disk encrypt sanitize -all")
        lose(terminal)

        for _ in range(PATIENCE * 10):
            if "busy" not in remote.run("disk encrypt lock '*'").err:
                break
    assert remote.run("disk encrypt show").out.count(" No\n") == DISKS
    assert "kern.internal.error" not in remote.log


def test_a_connection_lost_in_a_rekey_stops_it_at_a_safe_point(
    encrypted: Remote, server: FaultyKeyServer
) -> None:
    before = encrypted.run("disk encrypt show").out
    held = hold(server, "REGISTER")
    with encrypted.terminal() as terminal:
        terminal.booted().type("key_manager rekey; logger went on\r")
        assert held.reached.wait(PATIENCE)
        lose(terminal)
        held.release()
        wait_until(encrypted, "disk encrypt lock '*'")

    assert encrypted.run("disk encrypt show").out == before
    assert "went on" not in encrypted.log
    interrupted = (
        "console.interrupted:warning]: key_manager rekey of root from 127.0.0.1: interrupt"
    )
    assert interrupted in encrypted.log
    assert "kern.internal.error" not in encrypted.log
    assert encrypted.run("key_manager rekey").status == 0


# Authentication.


def run_with_password(
    remote: Remote, password: str, user: str = "root", method: str = "password"
) -> tuple[str, int]:
    options = (
        *("BatchMode=no", "NumberOfPasswordPrompts=1"),
        f"PreferredAuthentications={method}",
    )
    client = remote.client(*(f"-o{option}" for option in options), user=user)
    child = Child(
        client[0],
        [*client[1:], "hostname"],
        cwd=remote.account.home,
        env=remote.account.environment(),
    )
    child.expect_exact("assword:")
    child.sendline(password)
    child.expect(pexpect.EOF)
    child.close()
    assert child.before is not None
    return plain(child.before).strip(), child.exitstatus or 0


METHODS = ("password", "keyboard-interactive")


@pytest.mark.parametrize("method", METHODS)
def test_a_password_opens_and_is_not_echoed(remote: Remote, method: str) -> None:
    assert run_with_password(remote, PASSWORD, method=method) == ("filer1", 0)
    assert f"root from 127.0.0.1 logged in by {method}\n" in remote.log


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("user", "password"), [("root", "open-sesame-8"), ("nobody", PASSWORD)])
def test_a_wrong_password_or_user_is_refused_and_logged_without_it(
    remote: Remote, user: str, password: str, method: str
) -> None:
    text, status = run_with_password(remote, password, user, method)

    assert "Permission denied" in text
    assert status == 255
    assert f"ssh.login.failure:warning]: wrong user or password for {user} from 127." in remote.log
    assert password not in remote.log


def test_a_key_that_is_not_authorized_is_refused(remote: Remote, tmp_path: Path) -> None:
    ended = remote.run("hostname", key=make_key(tmp_path / "other"))

    assert "Permission denied" in ended.err
    assert (ended.out, ended.status) == ("", 255)


def test_the_keys_are_those_of_root_alone_and_a_change_counts_at_once(account: Account) -> None:
    give_access(account, "operator")
    keys = account.root / "ssh" / "authorized_keys"
    key = keys.read_text(encoding="ascii").splitlines()[1]
    with serving(account) as remote:
        assert remote.run("hostname").status == 0
        assert remote.run("hostname", user="operator").status == 255
        assert run_with_password(remote, PASSWORD, "operator") == ("filer1", 0)
        assert "operator from 127.0.0.1 logged in by password" in remote.log

        # A key is held to one command as with OpenSSH.
        keys.write_text(f'command="key_manager show",no-pty {key}\n', encoding="ascii")
        assert remote.run("halt") == (NOTHING_REGISTERED, "", 0)
        assert remote.run(input="halt\n") == (NOTHING_REGISTERED, "", 0)

        changed = account.run("--ssh-password", "operator", input="another-one\n")
        assert changed.status == 0
        assert run_with_password(remote, "another-one", "operator") == ("filer1", 0)
        assert run_with_password(remote, PASSWORD, "operator")[1] == 255
        keys.unlink()
        assert remote.run("hostname").status == 255


def test_logins_and_logouts_are_in_the_system_log(remote: Remote) -> None:
    assert remote.run("hostname").status == 0
    wait_until(remote, "hostname")

    login, logout = "root from 127.0.0.1 logged in by public key", "root from 127.0.0.1 logged out"
    assert re.search(rf" \[filer1:ssh\.login:info\]: {login}\n", remote.log)
    assert re.search(rf" \[filer1:ssh\.logout:info\]: {logout}\n", remote.log)


# Other requests of clients.


def test_ports_are_not_forwarded(remote: Remote) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as target:
        port = target.getsockname()[1]
        inward = remote.run(options=["-W", f"127.0.0.1:{port}"])
        outward = remote.run(
            "hostname", options=["-R", "0:127.0.0.1:1", "-o", "ExitOnForwardFailure=yes"]
        )

        assert inward.status == 255
        assert "forwarding failed" in inward.err
        assert outward.status == 255
        assert "remote port forwarding failed" in outward.err


def test_there_is_no_file_transfer(remote: Remote) -> None:
    sftp = remote.run("sftp", options=["-s"])
    scp = remote.run("scp -t /tmp")

    assert sftp.status != 0
    assert "subsystem request failed" in sftp.err
    assert scp == ("", "scp not found.  Type '?' for a list of commands\n", 1)


def test_neither_x11_nor_the_agent_is_forwarded_and_the_environment_is_not_taken(
    remote: Remote,
) -> None:
    import paramiko

    with paramiko.SSHClient() as client:
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(remote.address, look_for_keys=False, allow_agent=False, **remote.login)
        transport = client.get_transport()
        assert transport is not None
        channel = transport.open_session()
        channel.set_environment_variable("PAGER", "touch owned; cat")
        with pytest.raises(paramiko.SSHException):
            channel.request_x11()
    with paramiko.SSHClient() as client:
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(remote.address, look_for_keys=False, allow_agent=False, **remote.login)
        _, out, _ = client.exec_command("hostname", environment={"FILER_ROOT": "/nowhere"})
        assert out.read() == b"filer1\n"


def test_garbage_does_not_disturb_the_server(remote: Remote) -> None:
    for garbage in (
        b"",
        b"\0" * 5000,
        b"GET / HTTP/1.0\r\n\r\n",
        os.urandom(20000),
        b"SSH-2.0-x\r\n\xff",
        b"SSH-2.0-\xff\r\n",
    ):
        with closing(socket.create_connection((remote.address, remote.port), PATIENCE)) as wire:
            with suppress(OSError):
                wire.sendall(garbage)
                wire.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                while wire.recv(65536):
                    pass

    assert remote.run("hostname") == ("filer1\n", "", 0)
    assert "kern.internal.error" not in remote.log


def descriptors_of(process: int) -> set[int]:
    return {int(path.name) for path in Path(f"/proc/{process}/fd").iterdir()}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this host has no /proc")
def test_a_session_without_a_descriptor_is_logged_and_keeps_none(account: Account) -> None:
    with serving(account) as remote:
        process = remote.child.proc.pid
        used = descriptors_of(process)
        limits = resource.prlimit(process, resource.RLIMIT_NOFILE)
        free = (number for number in count() if number not in used)
        # One for the connection and one to read the keys; a pipe needs two.
        few = next(islice(free, 2, None))
        for _ in range(10):  # a heartbeat, which looks at the disks, may need one at that moment
            resource.prlimit(process, resource.RLIMIT_NOFILE, (few, limits[1]))
            refused = remote.run("hostname")
            resource.prlimit(process, resource.RLIMIT_NOFILE, limits)
            if refused.status == 1:
                break

        assert (refused.out, refused.status) == ("", 1)
        assert remote.run("hostname") == ("filer1\n", "", 0)
        for _ in range(PATIENCE * 100):  # until the server has closed the last connection
            if descriptors_of(process) == used:
                break
            threading.Event().wait(0.01)
        assert descriptors_of(process) == used
        assert "ssh.session.failure:error]: OSError at ssh/session.py" in remote.log


# The clients of programs.


def test_netmiko_drives_the_console_as_it_drives_a_filer(remote: Remote) -> None:
    from netmiko import ConnectHandler

    with ConnectHandler(device_type="netapp_cdot", host=remote.address, **remote.login) as console:
        assert console.find_prompt() == "filer1>"
        assert console.send_command("hostname") == "filer1"
        assert console.send_command("key_manager show") == NOTHING_REGISTERED.strip()
        table = console.send_command("disk encrypt show")
        assert isinstance(table, str)
        assert len(table.splitlines()) == DISKS + 1


def test_paramiko_reads_outputs_and_status(remote: Remote) -> None:
    import paramiko

    with paramiko.SSHClient() as client:
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(remote.address, look_for_keys=False, allow_agent=False, **remote.login)
        answers, out, err = client.exec_command("disk encrypt sanitize -all")
        answers.write("no\n")
        answers.channel.shutdown_write()

        assert b"will be lost for good" in out.read() + err.read()
        assert out.channel.recv_exit_status() == 1


# How it begins and ends.


def test_it_listens_where_it_is_told_to(account: Account) -> None:
    with serving(account, "::1") as remote:
        assert remote.address == "::1"
        assert remote.run("hostname").status == 0
        assert "root from ::1 logged in" in remote.log


def test_the_host_keys_stay_and_all_files_are_private(account: Account) -> None:
    give_access(account)
    for name in HOST_KEYS:
        (account.root / "ssh" / name).unlink()
    with serving(account) as first:
        told = first.fingerprint
    with serving(account) as second:
        assert second.fingerprint == told
    directory = account.root / "ssh"
    printed = first.announced + f" {told}"
    for name, size in (("host_key", 256), ("host_key_ecdsa", 256), ("host_key_rsa", 3072)):
        shown = subprocess.run(
            ["ssh-keygen", "-l", "-f", directory / name], capture_output=True, text=True, check=True
        )
        bits, fingerprint, *_ = shown.stdout.split()
        assert int(bits) == size
        assert fingerprint in printed.split()

    assert second.announced == first.announced
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for name in (*HOST_KEYS, "passwords.toml"):
        assert stat.S_IMODE((directory / name).stat().st_mode) == 0o600
    assert PASSWORD not in (directory / "passwords.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("host_key_ecdsa", "damaged\n", "filer: ssh/host_key_ecdsa: "),
        ("passwords.toml", '\nroot = "hunter2"\n', "filer: ssh/passwords.toml:2: root "),
        ("passwords.toml", "root = \n", "filer: ssh/passwords.toml:1: "),
    ],
)
def test_a_damaged_file_is_named_and_stays_as_it_is(
    account: Account, name: str, content: str, said: str
) -> None:
    path = account.root / "ssh" / name
    Root(account.root).claim(Storage())
    path.parent.mkdir(mode=0o700)
    path.write_text(content, encoding="utf-8")

    ended = account.run("--ssh", "0")

    assert ended.err.startswith(said)
    assert (ended.out, ended.err.count("\n"), ended.status) == ("", 1, 2)
    assert path.read_text(encoding="utf-8") == content


def test_a_port_that_is_taken_is_one_line(account: Account) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        ended = account.run("--ssh", str(other.getsockname()[1]))

    assert re.search(
        r"^filer: cannot listen on 127\.0\.0\.1 port \d+: .*in use\n$", ended.err, re.M
    )
    assert (ended.out, ended.status) == ("", 2)


def test_without_any_login_it_warns_and_listens_on_loopback(account: Account) -> None:
    give_access(account)
    for name in "passwords.toml", "authorized_keys":
        (account.root / "ssh" / name).unlink()
    with account.pipe("--ssh", "0") as child:
        child.expect_exact("WARNING: no user can log in: ")
        child.expect_exact("filer --ssh-password root")
        child.expect(r"listening on 127\.0\.0\.1 port (\d+) ")
        assert isinstance(child.match, re.Match)
        port = int(child.match[1])

        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), PATIENCE)


def test_a_reboot_ends_all_sessions_and_serves_again_and_halt_ends_the_program(
    encrypted: Remote,
) -> None:
    for how, said in ("reboot", "System rebooting...\n"), ("halt", "System halting...\n"):
        with encrypted.terminal() as idle:
            idle.booted()
            assert encrypted.run(how) == (said, "", 0)
            idle.shows(f"filer1: the system {how}s by root from 127.0.0.1; this session ends.")
            assert idle.end() == 129
        if how == "reboot":
            encrypted.again()
            assert encrypted.run("disk encrypt show").out.count(" Yes\n") == DISKS
            assert encrypted.run("uptime").out.count("up 0 mins") == 1
    assert encrypted.child.proc.wait(PATIENCE) == 0


def opened_output(kind: str) -> tuple[int, int]:
    """Open a pipe or a terminal; return what its reader and its writer hold."""
    return os.pipe() if kind == "pipe" else os.openpty()


def start_server(account: Account, output: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [PROGRAM, "--ssh", "0"],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd=account.home,
        env=account.environment(),
    )


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
def test_a_server_outlives_its_output(account: Account, kind: str) -> None:
    key = give_access(account)
    reader, writer = opened_output(kind)
    with start_server(account, writer) as process:
        os.close(writer)
        told = b""
        while not (found := re.search(rb"port (\d+) \(host key (\S+)\)\r?\n", told)):
            told += os.read(reader, 4096)
        remote = Remote(
            account, cast(Any, process), "127.0.0.1", int(found[1]), "", found[2].decode(), key
        )
        remote.trust()
        os.close(reader)

        assert remote.run("reboot").status == 0
        up = (remote.run("hostname") for _ in range(PATIENCE * 100))
        assert next(ended.out for ended in up if ended.status == 0) == "filer1\n"
        assert remote.log.count("console.output.lost:warning") == 1
        assert remote.run("reboot").status == 0
        assert next(ended.out for ended in up if ended.status == 0) == "filer1\n"
        assert remote.run("halt").status == 0
        assert process.wait(PATIENCE) == 1


def test_a_server_that_cannot_say_where_it_listens_ends(account: Account) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with start_server(account, writer) as process:
        os.close(writer)
        assert process.wait(PATIENCE) == 141


ENDS = {
    "reboot": "filer1: the system reboots by root from 127.0.0.1; this session ends.",
    "halt": "filer1: the system halts by root from 127.0.0.1; this session ends.",
    "SIGTERM": "filer1: the system halts; this session ends.",
}

QUESTIONS = {
    "disk encrypt sanitize 0c.00.3": "disk: interrupted",
    "key_manager setup": "key_manager: interrupted",
    "key_manager rekey -manual": "key_manager: interrupted",
    "key_manager remove -key_server 127.0.0.2": "key_manager: interrupted",
}


def end(remote: Remote, how: str) -> None:
    """Make the filer halt or reboot, by another session or by a signal, and wait for it."""
    if how == "SIGTERM":
        remote.child.kill(signal.SIGTERM)
    else:
        assert remote.run(how) == (f"System {how}ing...\n", "", 0)
    if how == "reboot":
        remote.again()
    else:
        assert remote.child.proc.wait(PATIENCE) == 0


def kept(account: Account) -> dict[str, bytes]:
    """Return everything that a command might change, except the log."""
    files = [path for path in account.root.rglob("*") if path.is_file() and path.suffix != ".sed"]
    return {str(path): path.read_bytes() for path in files if path.name not in ("messages", "lock")}


@pytest.mark.parametrize(
    ("how", "lines"),
    [
        ("reboot", [*QUESTIONS]),  # after which the same program serves again
        *((how, [line]) for how, line in some([*product(["halt", "SIGTERM"], QUESTIONS)], most=2)),
    ],
)
def test_an_open_question_delays_no_shutdown(encrypted: Remote, how: str, lines: list[str]) -> None:
    shown = encrypted.run("disk encrypt show").out
    before = kept(encrypted.account)
    for line, term in zip(lines, cycle(("vt100", "xterm"))):
        with encrypted.terminal(term=term) as terminal:
            terminal.shows("filer1>")
            terminal.type(f"{line}\r")
            wait_until_busy(encrypted)

            end(encrypted, how)
            assert terminal.end() == 129
        assert f"{QUESTIONS[line]}\n" in plain(terminal.seen)
        assert f"{ENDS[how]}\n" in plain(terminal.seen)

        assert kept(encrypted.account) == before
        name = " ".join(word for word in line.split()[:3] if not word.startswith("-"))
        assert f"console.interrupted:warning]: {name} of root from 127.0.0.1: in" in encrypted.log
    again = encrypted.run if how == "reboot" else encrypted.account.commands
    assert again("disk encrypt show").out == shown


def wait_until_busy(remote: Remote) -> None:
    """Wait until a command holds the turn, so that another change is refused."""
    for _ in range(PATIENCE * 10):
        if "busy" in remote.run("keymgr delete cert nonsense").err:
            return
    pytest.fail("no command is running")


@pytest.mark.parametrize("how", ["halt", "SIGTERM"])
def test_an_open_question_of_one_command_delays_no_shutdown(account: Account, how: str) -> None:
    with serving(account) as remote:
        for options, each in (["-tt"], "reboot"), ([], "reboot"), (["-tt"], how):
            with subprocess.Popen(
                [*remote.client(*options), "disk encrypt sanitize 0c.00.3"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**account.environment(), "TERM": "vt100"},
            ) as asking:
                assert asking.stdout is not None
                asked = b""
                while not asked.endswith(b"enter sanitize disk: "):
                    asked += os.read(asking.stdout.fileno(), 1)

                end(remote, each)
                out, _ = asking.communicate(timeout=PATIENCE)
            said = plain(out.decode())
            assert "disk: interrupted\n" in said
            assert ENDS[each] in said
            assert asking.returncode == 129


@pytest.mark.parametrize("how", ["halt", "SIGTERM"])
def test_a_change_at_work_ends_at_its_safe_point_and_then_the_end_goes_on(
    encrypted: Remote, server: FaultyKeyServer, how: str
) -> None:
    shown = encrypted.run("disk encrypt show").out
    for each in "reboot", how:
        held = hold(server, "REGISTER")
        with encrypted.terminal() as terminal, ThreadPoolExecutor() as pool:
            terminal.booted().type("key_manager rekey; logger went on\r")
            assert held.reached.wait(PATIENCE)

            ended = pool.submit(end, encrypted, each)
            terminal.shows(ENDS[each])
            assert not ended.done()
            held.release()
            terminal.shows("interrupted")
            ended.result()
            assert terminal.end() == 129

        assert "went on" not in encrypted.log
        again = encrypted.run if each == "reboot" else encrypted.account.commands
        assert again("disk encrypt show").out == shown
    assert encrypted.account.commands("key_manager rekey").status == 0


@pytest.mark.parametrize("how", ["halt", "SIGTERM"])
def test_keys_of_a_client_that_has_left_delay_no_end(account: Account, how: str) -> None:
    macros = "\x18(a\x7f\x18)" + "\x18(\x18e\x18e\x18)" * 40  # each doubles the one before
    upper = f"\x1b[200~{'abc ' * 15_000}\x1b[201~\x01" + ("\x1b9" * 6 + "\x1bu") * 50
    with serving(account) as remote:
        for words, each in ([], "reboot"), (["disk encrypt sanitize 0c.00.3"], how):
            with remote.screen(*words) as person:
                person.wait(lambda: person.typed.endswith((">", "disk:")), "a prompt")
                person.settle()
                person.type(upper + macros)
                person.shows("ABC abc")

            end(remote, each)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_all_sessions_and_the_program(
    encrypted: Remote, server: FaultyKeyServer, number: signal.Signals
) -> None:
    held = hold(server, "LOCATE")
    with encrypted.terminal() as idle, encrypted.terminal() as busy:
        idle.booted()
        busy.booted().type("key_manager query\r")
        assert held.reached.wait(PATIENCE)
        encrypted.child.kill(number)

        for terminal in (idle, busy):
            terminal.shows("filer1: the system halts; this session ends.")
            assert terminal.end() == 129
        assert encrypted.child.proc.wait(PATIENCE) == 0
        held.release()
    assert encrypted.account.commands("disk encrypt show").status == 0


def test_a_panic_is_status_3(tmp_path: Path) -> None:
    account = Account(tmp_path / "home", f"[system]\nsnaplock = true\n{SMALL_SHELF}")

    ended = account.run("--ssh", "0")

    assert ended.err.startswith("PANIC: ")
    assert (ended.out, ended.status) == ("", 3)


def test_a_client_that_does_not_log_in_in_time_is_disconnected(house: House) -> None:
    def work(port: int) -> None:
        with connect(port) as silent:
            while silent.recv(65536):
                pass

    clients_of(house, work, login=2.0)


# Passwords.


@pytest.mark.parametrize(
    ("again", "said", "status"),
    [
        (PASSWORD, "filer: password set for root", 0),
        (f"{PASSWORD}x", "filer: the two passwords differ; nothing was changed", 1),
    ],
)
def test_a_password_is_typed_twice_unseen(
    account: Account, again: str, said: str, status: int
) -> None:
    with account.terminal("--ssh-password", "root") as terminal:
        terminal.shows("New password for root: ")
        terminal.type(f"{PASSWORD}\r")
        terminal.shows("Retype new password: ")
        terminal.type(f"{again}\r")
        terminal.shows(said)

        assert terminal.end() == status
        assert PASSWORD not in terminal.seen
    assert (account.root / "ssh").exists() == (status == 0)


def test_what_is_no_user_or_no_password_is_refused(account: Account) -> None:
    for user, typed in (
        ("root", ""),
        ("root", "short\n"),
        ("Root", f"{PASSWORD}\n"),
        ("", f"{PASSWORD}\n"),
        ("a\x1b[31m", f"{PASSWORD}\n"),
    ):
        ended = account.run("--ssh-password", user, input=typed)

        assert ended.err.startswith("filer: "), user
        assert (ended.out, ended.err.count("\n"), ended.status) == ("", 1, 2)
        assert "\x1b" not in ended.err
        assert not (account.root / "ssh").exists()


# How it is called.


def test_without_asyncssh_it_says_what_to_install(account: Account) -> None:
    missing = account.home / "site" / "asyncssh.py"
    missing.parent.mkdir()
    missing.write_text("raise ModuleNotFoundError('none', name='asyncssh')\n", encoding="utf-8")

    ended = account.run("--ssh", "0", environment={"PYTHONPATH": str(missing.parent)})

    assert ended == ("", "filer: --ssh needs asyncssh: pip install asyncssh\n", 2)


def test_a_console_without_ssh_loads_none_of_it(account: Account) -> None:
    assert loaded_by(account, "-c", "hostname").isdisjoint({"asyncssh", "asyncio"})
