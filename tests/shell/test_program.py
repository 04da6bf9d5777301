"""The program ``filer``: how it is called, how it ends, and where it lives."""

import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pexpect
import pytest

from filer.keyserver.server import KeyServer
from filer.registration.pem import ca_name
from tests.conftest import StartKeyServers
from tests.kit.console import (
    DISKS,
    PATIENCE,
    PROGRAM,
    SMALL_SHELF,
    Account,
    Outcome,
    answers_to_setup,
    beside,
    change_settings,
    files_below,
    prepare,
)
from tests.kit.hostile import silenced
from tests.kit.points import paired


@pytest.fixture
def servers(key_servers: StartKeyServers) -> list[KeyServer]:
    return key_servers(1)


def is_one_line(text: str) -> bool:
    return text.count("\n") == 1 and text.endswith("\n")


def test_version_is_printed_without_a_filer(account: Account) -> None:
    ended = account.run("--version", environment={"FILER_ROOT": str(account.home / "none")})

    assert ended.out.startswith("filer 0.")
    assert (ended.err, ended.status) == ("", 0)
    assert not (account.home / "none").exists()


def with_descriptors(count: int) -> tuple[str, ...]:
    """Return how to start the program with a limit of ``count`` file descriptors."""
    return ("bash", "-c", f'ulimit -n {count}; exec "$0" "$@"', PROGRAM)


TOO_FEW = "too few file descriptors are free; raise the limit (ulimit -n)\n"


def test_too_few_file_descriptors_are_told_and_no_disk_is_touched(account: Account) -> None:
    prepare(account, [])
    before = {path: path.read_bytes() for path in files_below(account.root)}
    alone, demo = ("-c", "hostname"), ("--demo", "-c", "hostname")

    for count, options in ((6, alone), (9, demo), (16, alone), (30, demo)):
        ended = account.run(*options, program=with_descriptors(count))
        assert ended == ("", f"filer: {TOO_FEW}", 2), count
    assert {path: path.read_bytes() for path in files_below(account.root)} == before
    for options in (alone, demo):
        assert account.run(*options, program=with_descriptors(40)).out == "filer1\n"


def test_file_descriptors_that_run_out_at_the_prompt_are_told(account: Account) -> None:
    with account.terminal() as terminal:
        terminal.booted()
        process = int((account.root / "power").read_text(encoding="ascii"))
        limits = resource.prlimit(process, resource.RLIMIT_NOFILE)
        resource.prlimit(process, resource.RLIMIT_NOFILE, (3, limits[1]))
        terminal.type("key_manager show\r")
        terminal.shows(TOO_FEW.rstrip())
        assert "internal error" not in terminal.seen


def test_help_names_every_option(account: Account) -> None:
    ended = account.run("--help", environment={"FILER_ROOT": str(account.home / "none")})

    for option in (
        "--command CMD",  # after "-c CMD, " or, since Python 3.13, "-c, "
        "-e, --exit-on-error",
        "-x, --echo",
        "--format {text,json}",
        "--root DIR",
        "--demo",
        "--pair",
        "--record FILE",
        "--replay FILE",
        "--print-completion SHELL",
        "--version",
        "-h, --help",
        "FILE",
        "FILER_ROOT",
    ):
        assert option in ended.out
    assert (ended.err, ended.status) == ("", 0)
    assert not (account.home / "none").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "hostname", "FILE"],
        ["-c", "hostname", "-"],
        ["--nonsense"],
        ["--vers"],
        ["-c"],
        ["--root", "here", "--demo"],
        ["--pair"],
        ["--pair", "--ssh", "0"],
        ["--demo", "--pair", "-c", "hostname"],
        ["--demo", "--pair", "--new-pair", "here"],
        ["--demo", "--pair", "--ssh", "65535"],
        ["--format"],
        ["--format", "xml"],
        ["--format", "json", "-c", "date", "FILE"],
        ["--ssh", "x"],
        ["--ssh", "70000"],
        ["--ssh", "localhost:22"],
        ["--ssh", ""],
        ["--ssh", "::1:2222"],
        ["--ssh", "[::1:2222"],
        ["--ssh", "[127.0.0.1]:2222"],
        ["--ssh", "0", "-c", "hostname"],
        ["--ssh", "0", "FILE"],
        ["--ssh", "0", "-x"],
        ["--ssh", "0", "-e"],
        ["--ssh-password", "root", "--demo"],
        ["--ssh", "0", "--format", "json"],
        ["--ssh", "0", "--ssh-password", "root"],
        ["--ssh-password", "root", "-c", "hostname"],
    ],
)
def test_called_wrongly_it_tells_the_usage_and_does_nothing(
    account: Account, arguments: list[str]
) -> None:
    ended = account.run(*arguments, input="hostname\n")

    assert (ended.out, ended.status) == ("", 2)
    assert ended.err.startswith("usage: filer ")
    assert [path.name for path in account.root.iterdir()] == ["filer.toml"]


@pytest.mark.parametrize("name", ["missing", "directory", "missing\x1b[31m"])
def test_a_file_of_commands_that_cannot_be_read_is_named(account: Account, name: str) -> None:
    (account.home / "directory").mkdir()

    ended = account.run(name)

    assert (ended.out, ended.status) == ("", 2)
    assert ended.err.startswith(f"filer: cannot read {name.partition(chr(27))[0]}")
    assert is_one_line(ended.err)
    assert "\x1b" not in ended.err


@pytest.mark.parametrize("bad", ["nonsense", "logger 'a"])
def test_one_failed_command_is_status_1_and_the_others_run(account: Account, bad: str) -> None:
    ended = account.commands(bad, "hostname")

    assert (ended.out, ended.status) == ("filer1\n", 1)


def test_a_panic_is_status_3_and_runs_no_command(tmp_path: Path) -> None:
    account = Account(tmp_path / "home", f"[system]\nsnaplock = true\n{SMALL_SHELF}")

    ended = account.commands("hostname")

    assert (ended.out, ended.status) == ("", 3)
    assert ended.err.startswith("PANIC: ")
    assert is_one_line(ended.err)


def test_locked_disks_without_a_key_server_are_a_panic_that_counts_them(
    unregistered: Account, servers: list[KeyServer]
) -> None:
    assert unregistered.script("key_manager setup", *answers_to_setup(servers)).status == 0
    servers[0].stop()

    ended = unregistered.commands("hostname")

    assert (ended.out, ended.status) == ("", 3)
    assert "A T T E N T I O N" in ended.err
    assert ended.err.splitlines()[-1] == (
        "PANIC: raid: root aggregate aggr0 cannot be brought online: 3 of 3 disks locked"
    )


def test_the_root_is_that_of_the_option_then_of_the_environment_then_of_the_data_home(
    account: Account,
) -> None:
    by_option = account.run("--root", account.home / "option", "-c", "hostname")
    by_environment = account.run(
        "-c", "hostname", environment={"FILER_ROOT": str(account.home / "environment")}
    )
    by_default = account.run("-c", "hostname", environment={"FILER_ROOT": ""})

    assert {by_option, by_environment, by_default} == {("filer1\n", "", 0)}
    for root in ("option", "environment", "data/filer"):
        assert (account.home / root / "filer.toml").is_file()
    assert not (account.root / "shelf").exists()


def test_python_m_shell_is_the_same_program(account: Account) -> None:
    as_module = account.run(
        "-c", "hostname", "-c", "nonsense", program=(sys.executable, "-m", "filer")
    )

    assert as_module == account.commands("hostname", "nonsense")


def test_a_directory_of_another_use_is_refused_and_left_as_it_is(
    account: Account, tmp_path: Path
) -> None:
    used = tmp_path / "used"
    used.mkdir(mode=0o755)
    (used / "precious").write_text("mine")

    for more in (["-c", "hostname"], ["--ssh-password", "root"]):
        ended = account.run("--root", used, *more, input="password\n")

        assert (ended.out, ended.status) == ("", 2)
        assert ended.err == (
            f"filer: cannot use {used}: it is not empty (it has precious), and not the root of a "
            "filer\n"
        )
    assert [path.name for path in used.iterdir()] == ["precious"]
    assert stat.S_IMODE(used.stat().st_mode) == 0o755


def test_an_empty_name_is_no_root(account: Account) -> None:
    ended = account.run("--root", "", "-c", "hostname")

    assert (ended.out, ended.status) == ("", 2)
    assert ended.err.endswith("argument --root: not the name of a directory\n")


@pytest.mark.parametrize("place", ["below a file", "a file", "below a device"])
def test_a_root_that_cannot_be_used_is_status_2_and_one_line(account: Account, place: str) -> None:
    root = {
        "below a file": account.settings / "root",
        "a file": account.settings,
        "below a device": Path("/dev/null/root"),
    }[place]

    ended = account.run("--root", root, "-c", "hostname")

    assert (ended.out, ended.status) == ("", 2)
    assert ended.err.startswith("filer: ")
    assert is_one_line(ended.err)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('[system]\nhostname = "a"\n[kmip]\nport = "x"\n', "filer.toml:4: port must be"),
        ("[system]\nhostname = oops\n", "filer.toml:2: "),
        ("[shelf]\n\ndisk = 4\n", 'filer.toml:3: unknown key "disk" in [shelf]; did you mean'),
        ("[shelf\n", "filer.toml:1: "),
    ],
)
def test_a_broken_filer_toml_is_named_with_its_line_and_nothing_is_written(
    tmp_path: Path, settings: str, said: str
) -> None:
    account = Account(tmp_path / "home", settings)

    ended = account.commands("hostname")

    assert (ended.out, ended.status) == ("", 2)
    assert ended.err.startswith(f"filer: {said}")
    assert is_one_line(ended.err)
    assert account.settings.read_text(encoding="utf-8") == settings
    assert {path.name for path in files_below(account.root)} == {"filer.toml"}


def test_a_broken_registration_is_named_with_its_line_and_stays_as_it_is(
    unregistered: Account, servers: list[KeyServer]
) -> None:
    assert unregistered.commands(f"key_manager add -key_server {servers[0].address}").status == 0
    config = unregistered.root / "var" / "kmip" / "config.toml"
    config.write_bytes(b"# by hand\nport = ]\n")

    ended = unregistered.commands("hostname")

    assert (ended.out, ended.status) == ("", 2)
    assert "config.toml:2: " in ended.err
    assert is_one_line(ended.err)
    assert config.read_bytes() == b"# by hand\nport = ]\n"
    assert (config.parent / "certs" / ca_name(servers[0].address)).is_file()


def test_every_directory_and_file_of_the_root_is_private_with_any_umask(
    unregistered: Account, servers: list[KeyServer]
) -> None:
    settings = unregistered.settings.read_text(encoding="utf-8")
    root = unregistered.home / "another root"
    assert unregistered.run("--root", root, "-c", "hostname", umask=0).status == 0
    (root / "filer.toml").write_text(settings, encoding="utf-8")
    install = [
        argument
        for path in files_below(unregistered.root / "mroot")
        for argument in ("-c", f"keymgr install cert {path}")
    ]
    setup = "".join(f"{line}\n" for line in ("key_manager setup", *answers_to_setup(servers)))

    assert unregistered.run("--root", root, *install, umask=0).status == 0
    assert unregistered.run("--root", root, input=setup, umask=0).status == 0

    modes = {
        path.relative_to(root): stat.S_IMODE(path.stat().st_mode)
        for path in (root, *root.rglob("*"))
    }
    wrong = {
        path: oct(mode)
        for path, mode in modes.items()
        if mode != (0o700 if (root / path).is_dir() else 0o600)
    }
    assert not wrong
    assert len(modes) > DISKS


def test_a_second_start_on_a_root_is_refused_with_the_process_id_of_the_first(
    account: Account,
) -> None:
    with account.pipe() as first:
        first.sendline("hostname")
        first.expect_exact("filer1")

        second = account.commands("hostname")

        assert (second.out, second.status) == ("", 2)
        assert second.err == f"filer: {account.root} is in use by process {first.pid}\n"
        first.sendline("version")
        first.expect_exact("NetApp Release")


def test_a_start_after_a_crash_is_never_refused(account: Account) -> None:
    with account.pipe() as first:
        first.sendline("hostname")
        first.expect_exact("filer1")
        first.kill(signal.SIGKILL)
        first.proc.wait()

        assert account.commands("hostname") == ("filer1\n", "", 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_wait_for_input_silently(
    account: Account, number: signal.Signals
) -> None:
    with account.pipe() as child:
        child.sendline("hostname")
        child.expect_exact("filer1")
        child.kill(number)
        child.expect(pexpect.EOF)

        assert child.before is not None
        assert child.before.strip() == ""
        assert child.proc.wait() == 128 + number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_boot_that_waits_for_a_silent_key_server(
    tmp_path: Path, servers: list[KeyServer], number: signal.Signals
) -> None:
    account = beside(servers, tmp_path / "home", "init_maxwait = 3600.0\n")
    assert account.commands(f"key_manager add -key_server {servers[0].address}").status == 0
    change_settings(account, "timeout = 20.0", "timeout = 3600.0")
    with silenced(servers[0]) as listener, account.pipe() as child:
        child.sendline("hostname")
        with closing(listener.accept()[0]):
            child.kill(number)
            child.expect(pexpect.EOF)

        assert "filer1" not in (child.before or "")
        assert "Traceback" not in (child.before or "")
        assert child.proc.wait() == 128 + number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_command_that_waits_for_a_silent_key_server(
    unregistered: Account, servers: list[KeyServer], number: signal.Signals
) -> None:
    with unregistered.pipe() as child:
        child.sendline(f"key_manager add -key_server {servers[0].address}")
        child.expect_exact("Registration complete.")
        with silenced(servers[0]) as listener:
            child.sendline("key_manager query")
            child.sendline("hostname")
            with closing(listener.accept()[0]):
                child.kill(number)
                child.expect(pexpect.EOF)

        assert child.before is not None
        assert child.before.split() == ["key_manager:", "interrupted"]
        assert child.proc.wait() == 128 + number


def run_with_reader_gone(
    account: Account, arguments: str, merged: bool, program: str = PROGRAM
) -> tuple[str, int]:
    """Run the program with outputs without a reader; return its standard error and status."""
    readable, writable = os.pipe()
    os.close(readable)
    try:
        ended = subprocess.run(
            [program, *arguments.split("|")],
            stdin=subprocess.DEVNULL,
            stdout=writable,
            stderr=writable if merged else subprocess.PIPE,
            check=False,
            env=account.environment(),
            timeout=PATIENCE,
        )
    finally:
        os.close(writable)
    return (ended.stderr or b"").decode(), ended.returncode


@pytest.mark.parametrize("command", ["hostname", "man key_manager"])
def test_a_closed_pipe_ends_the_program_silently(account: Account, command: str) -> None:
    assert run_with_reader_gone(account, f"-c|{command}", merged=False) == ("", 141)


def test_a_closed_pipe_for_failures_ends_the_program_without_running_on(account: Account) -> None:
    _, status = run_with_reader_gone(account, "-c|nonsense|-c|logger ran on", merged=True)

    assert status == 141
    assert "ran on" not in (account.root / "mroot" / "etc" / "messages").read_text()


def test_head_ends_the_program_silently(account: Account) -> None:
    many = " ".join(["-c sysconfig"] * 200)

    ended = account.run("-c", f"'{PROGRAM}' {many} | head -n 1", program=("sh",))

    assert ended.out.startswith("\tNetApp Release ")
    assert is_one_line(ended.out)
    assert (ended.err, ended.status) == ("", 0)


TOLD_BY_THE_OPTIONS = [
    ("filer", "--version"),
    ("filer", "--help"),
    ("filer", "--print-completion bash"),
    ("filer-keyserver", "--version"),
    ("filer-keyserver", "--help"),
    ("filer-keyserver", "--print-completion zsh"),
]


@paired(("name, option", TOLD_BY_THE_OPTIONS), ("unbuffered", ["", "1"]))
def test_a_full_disk_under_the_output_of_an_option_costs_one_line(
    account: Account, name: str, option: str, unbuffered: str
) -> None:
    environment = {"PYTHONUNBUFFERED": unbuffered}
    command = f"'{Path(PROGRAM).with_name(name)}' {option}"

    def lost(redirection: str) -> Outcome:
        return account.run(
            "-c", f"{command} {redirection}", program=("sh",), environment=environment
        )

    reason = "cannot write standard output: No space left on device"
    assert lost("> /dev/full") == ("", f"{name}: {reason}\n", 1)
    assert lost("> /dev/full 2> /dev/full") == ("", "", 1)


@pytest.mark.parametrize(("name", "option"), TOLD_BY_THE_OPTIONS)
def test_a_closed_pipe_under_the_output_of_an_option_ends_it_silently(
    account: Account, name: str, option: str
) -> None:
    program = str(Path(PROGRAM).with_name(name))

    ended = run_with_reader_gone(account, option.replace(" ", "|"), merged=False, program=program)

    assert ended == ("", 141)


WRITING = [
    *TOLD_BY_THE_OPTIONS,
    ("filer", "-c hostname"),
    ("filer", "-e -x -c 'logger x'"),
    ("filer", "--format json -c 'logger x'"),
    ("filer", "commands"),
    ("filer", "- < commands"),
    ("filer", "< commands"),
    ("filer", "--demo -c hostname"),
    ("filer", "--ssh 0"),
    ("filer", "--ssh-password root < password"),
    ("filer-keyserver", "--port 0 --dir keys"),
]


@paired(
    ("name, arguments", WRITING),
    (
        "redirection, reason",
        [(">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")],
    ),
)
def test_output_that_cannot_be_written_is_a_failure_on_every_way_in(
    account: Account, name: str, arguments: str, redirection: str, reason: str
) -> None:
    (account.home / "commands").write_text("hostname\n", encoding="ascii")
    (account.home / "password").write_text("open-sesame-7\n", encoding="ascii")
    program = Path(PROGRAM).with_name(name)
    root = account.home / "keys" if "--demo" in arguments else account.root

    ended = account.run(
        "-c",
        f"'{program}' {arguments} {redirection}",
        program=("sh",),
        environment={"FILER_ROOT": str(root)},
    )

    assert (ended.out, ended.status) == ("", 1)
    assert ended.err.endswith(f"{name}: cannot write standard output: {reason}\n")
    assert ended.err.count("\n") == (2 if arguments == "--ssh 0" else 1)


def test_a_closed_standard_output_is_no_failure_of_what_prints_nothing(account: Account) -> None:
    ended = account.run("-c", f"'{PROGRAM}' -c 'logger x' >&-", program=("sh",))

    assert ended == ("", "", 0)
    assert ":logger.usr:notice]: x\n" in (account.root / "mroot" / "etc" / "messages").read_text()


WAYS_IN = ("-c", "FILE", "standard input", "-x -", "--format json -")
LEAVING = ("exit", "logout", "halt", "reboot", "reboot; exit")


@paired(("way", WAYS_IN), ("leaving", LEAVING))
def test_a_failure_before_the_end_is_not_forgotten(
    account: Account, way: str, leaving: str
) -> None:
    def status(*lines: str) -> int:
        text = "".join(f"{line}\n" for line in lines)
        if way == "-c":
            return account.commands(*lines).status
        if way == "FILE":
            (account.home / "commands").write_text(text, encoding="ascii")
            return account.run("commands").status
        return account.run(*(way.split() if way != "standard input" else ()), input=text).status

    assert status(f"hostname; {leaving}") == 0
    assert status(f"bad; {leaving}") == 1
    assert status("key_manager query; hostname; reboot", "hostname", leaving) == 1


@pytest.mark.parametrize("line", ["bad; exit", "bad"])
def test_an_interactive_session_that_a_person_leaves_is_status_0(
    account: Account, line: str
) -> None:
    with account.terminal() as terminal:
        terminal.booted()
        if line == "bad":
            terminal.enter(line)
            assert terminal.leave() == 0
        else:
            terminal.type(f"{line}\r")
            assert terminal.end() == 0


def test_at_loader_bye_after_a_failure_is_status_0(account: Account) -> None:
    with account.terminal() as terminal:
        terminal.booted().enter("bad; halt")
        terminal.type("bad; bye\r")
        assert terminal.end() == 0


def test_wrong_usage_has_its_status_even_without_standard_error(account: Account) -> None:
    ended = account.run("-c", f"'{PROGRAM}' --nonsense 2> /dev/full", program=("sh",))

    assert ended == ("", "", 2)


@pytest.mark.parametrize(
    ("redirection", "out"), [("<&-", "filer1\n"), (">&-", ""), ("2>&-", "filer1\n")]
)
def test_a_closed_standard_stream_is_no_defect(
    account: Account, redirection: str, out: str
) -> None:
    ended = account.run("-c", f"'{PROGRAM}' -c hostname {redirection}", program=("sh",))

    assert "internal error" not in ended.err
    assert ended.out == out


def test_without_any_input_the_filer_boots_and_halts(account: Account) -> None:
    assert account.run() == ("", "", 0)
    assert account.run("-c", f"'{PROGRAM}' <&-", program=("sh",)) == ("", "", 0)


def test_text_that_the_output_cannot_encode_is_escaped(account: Account) -> None:
    ended = account.run("-x", "-c", "logger é", environment={"PYTHONIOENCODING": "ascii"})

    assert ended == ("filer1> logger \\xe9\n", "", 0)


def test_standard_streams_stay_with_the_program_and_no_process_is_left(account: Account) -> None:
    told = account.run(
        "-c",
        "import json, os, subprocess, sys\n"
        "child = subprocess.Popen(sys.argv[1:], start_new_session=True, stdout=subprocess.PIPE)\n"
        "out, _ = child.communicate()\n"
        "try:\n"
        "    os.killpg(child.pid, 0)\n"
        "    left = True\n"
        "except ProcessLookupError:\n"
        "    left = False\n"
        "print(json.dumps([out.decode(), left]))\n",
        PROGRAM,
        "-c",
        "hostname",
        program=(sys.executable,),
    )

    assert json.loads(told.out) == ["filer1\n", False]


# A user without a home: a container may have neither HOME nor an entry in /etc/passwd.

NO_HOME = "your home directory is unknown; use {} DIR, or set HOME\n"


UNKNOWN_USER = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups")


def stranger_can_run_python() -> bool:
    started = [*UNKNOWN_USER, sys.executable, "-c", ""]
    return (
        subprocess.run(started, check=False, capture_output=True, cwd="/", env={}).returncode == 0
    )


by_root = pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("setpriv") or not stranger_can_run_python(),
    reason="only root can become another user, who must be able to run this Python",
)


@by_root
def test_a_user_without_a_home_can_serve_the_console_over_ssh() -> None:
    with TemporaryDirectory() as directory:  # pytest's own is closed to other users
        Path(directory).chmod(0o777)
        with subprocess.Popen(
            [*UNKNOWN_USER, PROGRAM, "--root", f"{directory}/root", "--ssh", "0"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
            env={"PATH": os.defpath},
        ) as served:
            assert served.stdout is not None
            told = []
            for line in served.stdout:
                told.append(line)
                if "listening on" in line:
                    break
            served.terminate()

    # Scripts read the port from the first line, which only a warning may precede.
    assert [line.split(maxsplit=1)[0] for line in told] == ["WARNING:", "filer:"], told
    assert served.returncode == 0


@by_root
@pytest.mark.parametrize(
    ("command", "out", "error", "status"),
    [
        ((PROGRAM, "-c", "hostname"), "", "filer: error: " + NO_HOME.format("--root"), 2),
        ((PROGRAM, "--demo", "-c", "hostname"), "filer1\n", "", 0),
        ((f"{PROGRAM}-keyserver",), "", "filer-keyserver: " + NO_HOME.format("--dir"), 1),
    ],
)
def test_a_user_without_a_home_is_told_what_to_give(
    command: Sequence[str], out: str, error: str, status: int
) -> None:
    ended = subprocess.run(
        [*UNKNOWN_USER, *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={"PATH": os.defpath},
    )

    assert (ended.stdout, ended.returncode) == (out, status)
    assert ended.stderr.endswith(error)
    assert "Traceback" not in ended.stderr
