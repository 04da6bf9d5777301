"""``--format json``: one object per command and event, as docs/JSON.md and the schema describe."""

import ast
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest

from filer.boot.machine import Machine, power_off
from filer.commands import Fields, Note, Text
from filer.commands.loader import COMMANDS_AT_LOADER
from filer.commands.system import Hostname, Uptime
from filer.keyserver.server import KeyServer
from filer.running.interrupt import Interrupt
from filer.shell.batch.inputs import LineInput
from filer.shell.batch.json_lines import SCHEMA, JsonConsole
from filer.shell.plugins import Commands, commands_at_loader
from filer.shell.session import Session
from filer.shell.signals import Signals
from filer.system import Filer
from tests.kit import json_schema
from tests.kit.console import (
    DISKS,
    OTHER_PASSPHRASE,
    PASSPHRASE,
    PATIENCE,
    PROGRAM,
    SMALL_SHELF,
    WEAK_PASSPHRASE,
    Account,
    answers_to_setup,
)
from tests.kit.hostile import silenced
from tests.kit.pairs import pairs_on
from tests.kit.paths import CHECKOUT
from tests.kit.plugins import install

DOCUMENT = json_schema.DOCUMENT.read_text(encoding="ascii")
DEFINED: dict[str, Any] = json.loads(
    (files("filer.shell.batch") / "filer-1.schema.json").read_text("ascii")
)

Object = dict[str, Any]
KEY_ID = "0" * 64


def strict(schema: Any) -> Any:
    """Return ``schema`` without permission for additional fields."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    stricter = {name: strict(each) for name, each in schema.items()}
    is_whole = {"type", "required", "properties"} <= schema.keys() and "allOf" not in schema
    if is_whole and schema is not DEFINED["$defs"]["notice"]:
        stricter["additionalProperties"] = False
    return stricter


def defined(prefix: str) -> dict[str, Any]:
    """Return the definitions whose names begin with ``prefix``, by the rest of the name."""
    return {
        name.removeprefix(prefix): schema
        for name, schema in DEFINED["$defs"].items()
        if name.startswith(prefix)
    }


TYPES, KINDS = defined("result_"), defined("kind_")
VALIDATOR = jsonschema.Draft202012Validator(strict(DEFINED))
OPEN_VALIDATOR = jsonschema.Draft202012Validator(DEFINED)


def objects(out: str) -> list[Object]:
    """Read an output, every line of which has to be an object that the schema knows.

    How long each took is taken for nothing.
    """
    assert out.isascii()
    assert not out or out.endswith("\n")
    read = [json.loads(line) for line in out.splitlines()]
    for each in read:
        VALIDATOR.validate(each)
        assert {result["type"] for result in each.get("results", ())} <= TYPES.keys()
        complaints = [*each.get("errors", ()), *each.get("warnings", ())]
        assert {complaint["kind"] for complaint in complaints} <= KINDS.keys()
        assert bool(each.get("errors")) == bool("errors" in each and each["status"])
        if "duration_s" in each:
            each["duration_s"] = 0
    return read


class Told(NamedTuple):
    """The objects of the program except boots, and its exit status."""

    commands: list[Object]
    status: int


def run(account: Account, *lines: str, options: Sequence[str] = ()) -> Told:
    """Run lines and their answers; nothing must go to standard error."""
    given = "".join(f"{line}\n" for line in lines)
    ended = account.run("--format", "json", *options, input=given)
    assert ended.err == ""
    read = objects(ended.out)
    assert read[0]["event"] == "boot"
    return Told([each for each in read if "command" in each], ended.status)


def only(account: Account, *lines: str, options: Sequence[str] = ()) -> Object:
    """Run lines that are one command, and return its object."""
    (told,), status = run(account, *lines, options=options)
    assert told["status"] == status
    return told


def types_of(each: Object) -> list[str]:
    return [result["type"] for result in each["results"]]


# The objects.


def test_a_command_is_an_object_with_its_results(account: Account) -> None:
    assert only(account, "hostname") == {
        "schema": "filer/1",
        "command": "hostname",
        "line": 1,
        "status": 0,
        "duration_s": 0,
        "results": [{"type": "hostname", "hostname": "filer1"}],
        "errors": [],
        "warnings": [],
        "questions": [],
    }


def test_a_boot_is_the_first_object_and_each_reboot_another(account: Account) -> None:
    ended = account.run("--format", "json", input="reboot\nhalt\nhostname\n")

    boot = {"schema": SCHEMA, "event": "boot", "status": 0, "duration_s": 0, "errors": []}
    boot["warnings"] = []
    told = objects(ended.out)
    assert [told[0], told[2]] == [boot, boot]
    going_down = {"type": "going_down", "takeover": True}
    assert told[1]["results"] == [going_down | {"boots_again": True}]
    assert told[3]["results"] == [going_down | {"boots_again": False}]
    assert (len(told), ended.err, ended.status) == (4, "", 0)


def test_text_is_the_default(account: Account) -> None:
    assert account.run("--format", "text", "-c", "hostname") == account.commands("hostname")


def test_every_type_of_every_command_is_written_and_no_secret(
    unregistered: Account, servers: list[KeyServer]
) -> None:
    first, second = servers
    setup = ["first.example", *answers_to_setup(servers)]
    given = [
        f"keymgr install cert '{first.directory / 'client.pem'}'",
        "keymgr list cert; keymgr view cert client.pem",
        "key_manager setup",
        *setup,
        "key_manager show",
        "key_manager status",
        "key_manager rekey -manual -key_tag by_hand",
        *(WEAK_PASSPHRASE, WEAK_PASSPHRASE, PASSPHRASE, PASSPHRASE),
        "key_manager query",
        "key_manager restore -all",
        f"key_manager add -key_server {first.address}",
        f"key_manager remove -key_server {second.address}",
        "disk show; disk encrypt show",
        "disk encrypt rekey 0x0 0c.00.3",
        "disk encrypt lock *",
        "disk encrypt sanitize 0c.00.3",
        "sanitize disk",
        "disk encrypt destroy 0c.00.3",
        "destroy disk",
        "disk encrypt show *; disk encrypt show 0c.00.3",
        "disk fail -f 0c.00.2; disk unfail 0c.00.2; disk zero spares",
        "sysconfig; sysconfig -r; aggr status; aggr status -r; vol status -f",
        "priv set advanced; priv set",
        "hostname; version; date; uptime; options; options kmip",
        f"ping {first.address}; ifconfig -a",
        "logger written; rdfile /etc/messages; cf status",
        "?; help; help disk; man disk; history",
        "keymgr delete cert client.pem",
        "reboot",
        "halt",
    ]

    ended = unregistered.run("--format", "json", "-x", input="".join(f"{line}\n" for line in given))

    told = [each for each in objects(ended.out) if "command" in each]
    by_name = {each["command"]: each for each in told}
    names = {name.split()[0] for name in by_name}
    assert names == set(Commands(pytest.fail)) - {"exit", "logout", "partner", "source"}
    failed = {each["command"] for each in told if each["status"]}
    assert failed == {"disk encrypt lock"}  # the MSID cannot lock a disk
    seen = {result_type for each in told for result_type in types_of(each)}
    of_a_pair = {"failover_monitor", "given_back", "partner_shell", "taken_over"}
    assert seen == TYPES.keys() - {"environment", "disk_reassignment"} - of_a_pair
    assert types_of(by_name["key_manager setup"]) == [
        "files_registered",
        "answer_refused",
        "key_servers_registered",
        "key_pair_created",
        "disks_completed",
        "disks_completed",
    ]
    assert types_of(by_name["key_manager rekey"]) == [
        "answer_refused",
        "key_pair_created",
        "disks_completed",
    ]
    assert (ended.err, ended.status) == ("", 1)
    secrets = [PASSPHRASE, WEAK_PASSPHRASE, "PRIVATE KEY"]
    secrets += [pair.key.reveal().decode() for pair in pairs_on(first)]
    assert len(secrets) == 5
    assert [secret for secret in secrets if secret in ended.out] == []


@pytest.mark.parametrize("leave", ["exit", "logout"])
def test_leaving_is_a_command_too(account: Account, leave: str) -> None:
    told = only(account, leave, "hostname")

    assert (told["command"], told["status"], told["results"]) == (leave, 0, [])


def test_each_key_server_says_what_it_holds(registered: Account, servers: list[KeyServer]) -> None:
    (rekey, query, show, _), status = run(
        registered,
        "key_manager rekey -key_tag tagged",
        "key_manager query",
        "disk encrypt show",
        "disk encrypt lock 0c.00.1",
    )

    created = rekey["results"][0]
    addresses = [server.address for server in servers]
    assert created == {
        "type": "key_pair_created",
        "passphrase": "generated",
        "key_id": created["key_id"],
        "key_tag": "tagged",
        "key_servers": addresses,
    }
    key = {"key_tag": "tagged", "key_id": created["key_id"], "in_keytable": True}
    assert query["results"] == [
        {"type": "key_server_keys", "key_server": address, "keys": [key]} for address in addresses
    ]
    assert {disk["key_id"] for disk in show["results"][0]["disks"]} == {created["key_id"]}
    assert status == 0


def test_a_file_comes_as_it_is(account: Account) -> None:
    assert account.commands("hostname").status == 0
    text, binary = "tab\t\x1b[31m\N{SNOWMAN}\n", b"\xff\x00"
    etc = account.root / "mroot" / "etc"
    (etc / "text").write_text(text, encoding="utf-8")
    (etc / "binary").write_bytes(binary)

    (first, second), _ = run(account, "rdfile /etc/text", "rdfile /mroot/etc/binary")

    assert first["results"] == [
        {"type": "file", "path": "/etc/text", "encoding": "utf-8", "content": text}
    ]
    assert second["results"] == [
        {"type": "file", "path": "/mroot/etc/binary", "encoding": "base64", "content": "/wA="}
    ]


def test_objects_come_as_their_commands_end(account: Account) -> None:
    with account.pipe("--format", "json") as child:
        child.expect_exact('"event": "boot"')
        child.sendline("hostname; version")
        child.expect_exact('"filer1"')
        child.expect_exact('"type": "release"')


# Failures.


FAILURES = {
    "nonsense now": [
        {
            "kind": "unknown_command",
            "message": "nonsense not found.  Type '?' for a list of commands",
            "name": "nonsense",
        }
    ],
    "key_manager add -key_servr 127.0.0.2": [
        {
            "kind": "usage",
            "message": 'key_manager: word 3: unexpected "-key_servr"; did you mean "-key_server"?',
            "word": 3,
            "expected": ["-key_server"],
            "usage": ["key_manager add ( -key_server ipaddr )+"],
        }
    ],
    "key_manager restore": [
        {
            "kind": "usage",
            "message": "key_manager: incomplete; expected -all or -key_server",
            "word": 3,
            "expected": ["-all", "-key_server"],
            "usage": [
                "key_manager restore -all [ -key_tag tag ]",
                "key_manager restore -key_server ipaddr [ -key_tag tag ]",
            ],
        }
    ],
    "logger 'never closed": [{"kind": "syntax", "message": "unclosed quote"}],
    "key_manager query": [{"kind": "refused", "message": "No key servers are registered."}],
    "disk encrypt sanitize 0c.00.3": [
        {"kind": "end_of_input", "message": "disk: end of input"},
    ],
}


def test_a_failure_has_its_kind_and_what_it_is_about(account: Account) -> None:
    told, status = run(account, *FAILURES)

    assert dict(zip(FAILURES, (each["errors"] for each in told), strict=True)) == FAILURES
    assert {status, *(each["status"] for each in told)} == {1}


def test_a_failed_command_is_named_as_far_as_it_was_understood(account: Account) -> None:
    names = {
        "nonsense now": "nonsense",
        "'\x1b[2J'": "\\x1b[2J",
        "key_manager add": "key_manager",
        "logger 'never closed": None,
        "disk encrypt rekey 0x1 *": "disk encrypt rekey",
    }

    told, _ = run(account, *names)

    assert [each["command"] for each in told] == [*names.values()]


def test_messages_are_those_of_the_text(tmp_path: Path) -> None:
    texts, same = Account(tmp_path / "text"), Account(tmp_path / "json")
    lines = [*FAILURES, "disk encrypt lock 0c.00.1", "help nonsense", "man nonsense", "rdfile /x"]

    err = texts.script(*lines).err
    told = run(same, *lines).commands

    without_usage = [line for line in err.splitlines() if not line.startswith("usage: ")]
    assert [error["message"] for each in told for error in each["errors"]] == without_usage


def test_a_silent_key_server_is_an_error_beside_the_results(
    registered: Account, servers: list[KeyServer]
) -> None:
    first, second = servers
    second.stop()

    told = only(registered, "key_manager status")

    assert told["results"] == [
        {"type": "key_server_status", "key_server": first.address, "responding": True}
    ]
    assert told["errors"] == [
        {
            "kind": "key_server_not_responding",
            "message": f"Key server {second.address} is not responding: connection refused.",
            "key_server": second.address,
            "reason": "connection refused",
        }
    ]


def test_every_disk_that_fails_has_an_error_beside_the_counts(account: Account) -> None:
    told = only(account, f"disk encrypt rekey {KEY_ID} *")

    disks = [f"0c.00.{number}" for number in range(DISKS)]
    assert told["results"] == [
        {
            "type": "disks_completed",
            "operation": "rekey",
            "attempted": DISKS,
            "succeeded": [],
            "failed": disks,
            "unknown_key": DISKS,
            "authentication": 0,
            "not_reached": 0,
        }
    ]
    errors = told["errors"]
    assert {(error["kind"], error["cause"]) for error in errors} == {("disk", "unknown_key")}
    assert [error["disk"] for error in errors] == disks


def test_results_before_a_failure_are_kept(registered: Account, servers: list[KeyServer]) -> None:
    run(registered, "key_manager rekey", "disk encrypt lock *")
    both = " ".join(f"-key_server {server.address}" for server in servers)

    told = only(registered, f"key_manager remove {both}", "no")

    (warning,) = told["warnings"]
    assert warning["kind"] == "key_out_of_reach"
    assert warning["disk_count"] == DISKS
    assert warning["message"].startswith(f"WARNING: key ID {warning['key_id']} of ")
    assert told["questions"] == [{"question": "Remove anyway? {no}", "secret": False}]
    assert told["errors"] == [
        {"kind": "refused", "message": "key_manager: no key server was removed"}
    ]


def test_exit_on_error_ends_after_the_object_of_the_failure(account: Account) -> None:
    told, status = run(account, "hostname", "nonsense; hostname", "hostname", options=["-e"])

    assert [each["command"] for each in told] == ["hostname", "nonsense"]
    assert status == 1


# Lines, echo and questions.


def test_the_line_is_that_on_which_a_command_began(account: Account, tmp_path: Path) -> None:
    lines = (
        "# a comment\n\nhostname; \\\nversion\nnonsense\ndisk encrypt sanitize 0c.00.3\nno\ndate\n"
    )
    file = tmp_path / "commands"
    file.write_text(lines)

    by_file, by_pipe = (
        [each.get("line") for each in objects(account.run("--format", "json", *way).out)]
        for way in ([file], ["-c", "hostname", "-c", "", "-c", "date"])
    )

    assert by_file == [None, 3, 3, 5, 6, 8]
    assert by_pipe == [None, 1, 3]


def test_echo_adds_prompt_input_and_answers_but_no_secret(registered: Account) -> None:
    told, status = run(
        registered,
        "key_manager rekey -manual \\",
        "  -key_tag second",
        *(PASSPHRASE, OTHER_PASSPHRASE, PASSPHRASE, PASSPHRASE),
        "disk encrypt sanitize 0c.00.3",
        "sanitize disk",
        options=["-x"],
    )
    rekey, sanitize = told

    assert rekey["prompt"] == "filer1>"
    assert rekey["input"] == "key_manager rekey -manual \\\n  -key_tag second"
    assert (
        rekey["questions"]
        == [
            {"question": "Please enter a new passphrase:", "secret": True},
            {"question": "Please reenter the new passphrase:", "secret": True},
        ]
        * 2
    )
    assert sanitize["questions"] == [
        {
            "question": "To continue, enter sanitize disk:",
            "secret": False,
            "answer": "sanitize disk",
        }
    ]
    assert status == 0


def test_answers_without_a_question_are_in_no_object(account: Account) -> None:
    told = only(account, "key_manager rekey -manual", PASSPHRASE, PASSPHRASE, options=["-x"])

    assert told["errors"] == [{"kind": "refused", "message": "No key servers are registered."}]
    assert PASSPHRASE not in json.dumps(told)


def test_any_bytes_are_failed_commands_in_whole_objects(account: Account) -> None:
    ended = account.run("--format", "json", "-x", input=bytes(range(256)) * 4)

    assert {each["status"] for each in objects(ended.out)[1:]} == {1}
    assert (ended.err, ended.status) == ("", 1)


def test_a_person_who_answers_sees_the_question(account: Account) -> None:
    with account.terminal("--format", "json", "-c", "disk encrypt sanitize 0c.00.3") as terminal:
        terminal.shows("To continue, enter sanitize disk: ")
        terminal.type("sanitize disk\r")
        terminal.shows('"disks_completed"')
        assert terminal.end() == 0


# Events, and the end of the program.


def test_a_panic_is_the_error_of_its_boot(tmp_path: Path) -> None:
    account = Account(tmp_path / "home", f"[system]\nsnaplock = true\n{SMALL_SHELF}")

    ended = account.run("--format", "json", "-c", "hostname")

    (boot,) = objects(ended.out)
    assert (boot["event"], boot["status"]) == ("boot", 3)
    assert [error["kind"] for error in boot["errors"]] == ["panic"]
    assert (ended.err, ended.status) == ("", 3)


def test_warnings_of_a_boot_are_in_its_object(
    registered: Account, servers: list[KeyServer]
) -> None:
    run(registered, "key_manager rekey", "disk encrypt lock *")
    for server in servers:
        server.stop()

    ended = registered.run("--format", "json", "-c", "hostname")

    (boot,) = objects(ended.out)
    kinds = [(warning["kind"], warning.get("event")) for warning in boot["warnings"]]
    assert kinds == [
        ("boot", "kmip.init.noresponse"),
        ("boot", "kmip.init.noresponse"),
        ("attention", None),
        ("boot", "disk.encrypt.locked"),
    ]
    assert boot["errors"] == [
        {
            "kind": "panic",
            "message": "PANIC: raid: root aggregate aggr0 cannot be brought online: "
            "3 of 3 disks locked",
        }
    ]
    assert (ended.err, ended.status) == ("", 3)


def start(account: Account, *arguments: str) -> "subprocess.Popen[str]":
    """Start the program with pipes, in text mode."""
    return subprocess.Popen(
        [PROGRAM, "--format", "json", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=account.environment(),
        encoding="utf-8",
    )


def test_autoboot_is_an_event_between_two_boots(tmp_path: Path) -> None:
    settings = f"[system]\nsnaplock = true\n[boot]\nautoboot = true\n{SMALL_SHELF}"
    with start(Account(tmp_path / "home", settings)) as filer:
        assert filer.stdout is not None
        out = "".join(filer.stdout.readline() for _ in range(3))
        filer.terminate()
        assert filer.wait(PATIENCE) == 143

    told = objects(out)
    assert [each["event"] for each in told] == ["boot", "autoboot", "boot"]
    assert told[1]["seconds"] == 1


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_signal_leaves_whole_objects(account: Account, number: int, status: int) -> None:
    with start(account, "-x") as filer:
        assert filer.stdin is not None
        assert filer.stdout is not None
        filer.stdin.write("hostname\ndisk encrypt sanitize 0c.00.3\n")
        filer.stdin.flush()
        out = filer.stdout.readline() + filer.stdout.readline()
        messages = account.root / "mroot" / "etc" / "messages"
        assert messages.exists()
        filer.send_signal(number)
        out += filer.stdout.read()
        assert filer.wait(PATIENCE) == status

    told = objects(out)
    assert told[1]["command"] == "hostname"
    ends = [each["errors"] for each in told[2:]]
    assert ends in ([], [[{"kind": "interrupted", "message": "disk: interrupted"}]])


def test_ctrl_c_is_a_failure_of_the_command_that_it_stops(
    registered: Account, servers: list[KeyServer]
) -> None:
    with silenced(servers[0]) as listener, start(registered) as filer:
        listener.accept()[0].close()  # of kmip_init
        assert filer.stdin is not None
        assert filer.stdout is not None
        boot = filer.stdout.readline()
        filer.stdin.write("key_manager status\nhostname\n")
        filer.stdin.flush()
        with listener.accept()[0]:
            filer.send_signal(signal.SIGINT)
            out = filer.stdout.read()
        assert filer.wait(PATIENCE) == 130

    _, told = objects(boot + out)
    assert told["command"] == "key_manager status"
    assert told["errors"] == [{"kind": "interrupted", "message": "key_manager: interrupted"}]


def test_the_demo_says_nothing_of_its_own(account: Account) -> None:
    ended = account.run("--demo", "--format", "json", "-c", "keymgr list cert")

    boot, told = objects(ended.out)
    assert (boot["event"], boot["warnings"]) == ("boot", [])
    assert "client.pem" in [each["name"] for each in told["results"][0]["certificates"]]
    assert (ended.err, ended.status) == ("", 0)


def test_a_root_that_cannot_be_used_is_an_event(account: Account) -> None:
    account.settings.write_text("[shelf\n")

    ended = account.run("--format", "json", "-c", "hostname")

    (told,) = objects(ended.out)
    assert (told["event"], told["status"]) == ("failure", 2)
    assert told["message"].startswith("filer: filer.toml:1: ")
    assert (ended.err, ended.status) == ("", 2)


def test_a_reader_that_goes_away_ends_the_program_without_a_word(account: Account) -> None:
    many = " ".join(["-c sysconfig"] * 200)
    command = f"'{PROGRAM}' --format json {many} | head -n 1"

    ended = account.run("-c", command, program=("sh",))

    assert [each["event"] for each in objects(ended.out)] == ["boot"]
    assert ended.err == ""


def test_a_full_output_is_a_failure_on_standard_error(account: Account) -> None:
    command = f"'{PROGRAM}' --format json -c hostname > /dev/full"

    ended = account.run("-c", command, program=("sh",))

    assert ended.err == "filer: cannot write standard output: No space left on device\n"
    assert ended.status == 1


def test_a_prompt_needs_text(account: Account) -> None:
    with account.terminal("--format", "json") as terminal:
        terminal.shows("--format json needs FILE, -c, or a standard input that is not a terminal")
        assert terminal.end() == 2
    assert not (account.root / "shelf").exists()


def test_text_loads_nothing_of_json(account: Account) -> None:
    program = (
        "import sys\nfrom filer.shell.__main__ import main\n"
        "main(sys.argv[1:])\nprint('filer.shell.batch.json_lines' in sys.modules)\n"
    )

    told = [
        account.run("-c", program, "--format", form, "-c", "date", program=(sys.executable,)).out
        for form in ("text", "json")
    ]

    assert [out.splitlines()[-1] for out in told] == ["False", "True"]


# Plug-ins.

PLUG_IN = """
from filer.commands import Command, Complaint, Subcommand


class Plain:
    def lines(self):
        return ["one", "two"]


class Fields:
    TYPE = "weather"

    def __init__(self, value):
        self.value = value

    def lines(self):
        return [str(self.value)]

    def data(self):
        return {{"value": self.value}}


def _run(call):
    call.show(Plain())
    call.show(Fields(21.5))
    call.console.warn("a warning")
    call.console.warn(Complaint("it rains", "weather", millimetres=3))
    {more}


COMMAND = Command("weather", "tell the weather", Subcommand("weather", _run))
"""


def plugged_in(account: Account, site: Path, source: str) -> list[Object]:
    site.mkdir()
    install(site, "weather", source)
    environment = {"PYTHONPATH": str(site)}
    ended = account.run("--format", "json", "-c", "weather", environment=environment)
    assert ended.err == ""
    told: list[Object] = [json.loads(line) for line in ended.out.splitlines()]
    for each in told:
        OPEN_VALIDATOR.validate(each)
    return told


def test_a_plug_in_result_has_its_fields_or_its_text(account: Account, tmp_path: Path) -> None:
    told = plugged_in(account, tmp_path / "site", PLUG_IN.format(more="call.fail('too bad')"))[1]

    assert told["results"] == [
        {"type": "text", "lines": ["one", "two"]},
        {"type": "weather", "value": 21.5},
    ]
    assert told["warnings"] == [
        {"kind": "warning", "message": "a warning"},
        {"kind": "weather", "message": "it rains", "millimetres": 3},
    ]
    assert told["errors"] == [{"kind": "failed", "message": "too bad"}]


@pytest.mark.parametrize("value", ["object()", "float('nan')", "{1: {2}}", "1 / 0"])
def test_data_that_json_cannot_say_fails_its_command_only(
    account: Account, tmp_path: Path, value: str
) -> None:
    told = plugged_in(
        account, tmp_path / "site", PLUG_IN.format(more=f"call.show(Fields({value}))")
    )

    assert [error["kind"] for error in told[1]["errors"]] == ["internal"]
    assert len(told[1]["results"]) == 2


def test_a_plug_in_that_cannot_be_loaded_is_a_warning_of_the_command_that_looked(
    account: Account, tmp_path: Path
) -> None:
    told = plugged_in(account, tmp_path / "site", "1 / 0\n")[1]

    assert told["command"] == "weather"
    assert [error["kind"] for error in told["errors"]] == ["unknown_command"]
    (warning,) = told["warnings"]
    message = "WARNING: command plug-in weather of weather 1.0 cannot be loaded: "
    assert warning["message"].startswith(message)


def test_an_object_says_how_long_its_command_took() -> None:
    out = StringIO()
    times = iter([10.0, 12.5, 20.0, 20.00049])
    console = JsonConsole(LineInput(()), Signals(Interrupt()), out=out, clock=times.__next__)

    for command in ("quick", "slow"):
        console.begin(command=command)
        console.end(0)

    assert [json.loads(line)["duration_s"] for line in out.getvalue().splitlines()] == [2.5, 0.0]


# LOADER, which no script reaches.


@pytest.fixture
def machine(account: Account) -> Iterator[Filer]:
    """A filer that has power, but has not booted."""
    machine = Machine(account.root, Interrupt())
    filer = machine.power_on()
    yield filer
    power_off(filer)
    machine.unplug()


def at_loader(machine: Filer, line: str, *answers: str) -> Object:
    out = StringIO()
    lines = LineInput(f"{answer}\n".encode() for answer in answers)
    console = JsonConsole(lines, Signals(Interrupt()), out=out)
    console.at(None, 1)
    Session(machine, commands_at_loader(), console, "LOADER>", console).execute(line)
    (told,) = objects(out.getvalue())
    return told


def test_loader_has_its_types_too(machine: Filer, servers: list[KeyServer]) -> None:
    addresses = [server.address for server in servers]
    setup = f"kmip_setup '{servers[0].directory}' {' '.join(addresses)}"

    assert at_loader(machine, "printenv")["results"] == [
        {"type": "environment", "variables": {"AUTOBOOT": "false"}}
    ]
    assert at_loader(machine, "setenv AUTOBOOT true")["status"] == 0
    assert at_loader(machine, "savenv")["status"] == 0
    assert at_loader(machine, "unsetenv AUTOBOOT")["status"] == 0
    (listed,) = at_loader(machine, "help")["results"]
    assert [each["command"] for each in listed["commands"]] == [
        command.name for command in COMMANDS_AT_LOADER
    ]
    (done,) = at_loader(machine, setup, "", "")["results"][-1:]
    assert (done["type"], done["key_servers"]) == ("key_servers_registered", addresses)
    assert len(done["files"]) == 2 + len(addresses)


# The schema and its description.


def complaints_made() -> Iterator[tuple[str, set[str]]]:
    """Yield the kind and details of each complaint in the source."""
    for path in json_schema.modules():
        for node in ast.walk(ast.parse(path.read_bytes())):
            match node:
                case ast.Call(
                    func=ast.Name("Complaint"),
                    args=[_, ast.Constant(str(kind))],
                    keywords=details,
                ):
                    yield kind, {detail.arg or "**" for detail in details}


def rows(heading: str) -> dict[str, set[str]]:
    """Return a table of docs/JSON.md: each row's first name, and the names in its last cell."""
    section = DOCUMENT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    table = section.split("| --- |\n")[1].split("\n\n")[0]
    cells = [line.split("|") for line in table.splitlines()]
    return {" ".join(names_in(each[1])): set(names_in(each[-2])) for each in cells}


def names_in(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_the_schema_is_where_the_page_says() -> None:
    (program,) = re.findall(r"^    python -c '(.*)'$", DOCUMENT, re.M)

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert json.loads(Path(ran.stdout.decode().strip()).read_text("ascii")) == DEFINED


def test_the_schema_is_one_and_is_installed() -> None:
    jsonschema.Draft202012Validator.check_schema(DEFINED)
    assert DEFINED["$defs"]["schema"] == {"const": SCHEMA}
    assert "filer.shell.batch = *.schema.json" in (CHECKOUT / "setup.cfg").read_text().splitlines()


def test_the_schema_and_its_description_are_those_of_the_code() -> None:
    again = "run `make schema`"
    assert json_schema.FILE.read_text("ascii") == json_schema.schema_text(json_schema.schema()), (
        again
    )
    assert json_schema.with_tables(DOCUMENT) == DOCUMENT, again


def test_every_result_of_the_console_has_fields_and_a_type_of_its_own() -> None:
    found = [each for each in json_schema.classes_of_results() if each is not Note]
    real = [each for each in found if not getattr(each, "_is_protocol", False)]

    assert [each for each in real if not issubclass(each, Fields | Text)] == []
    assert [each for each in real if "TYPE" not in vars(each)] == []
    assert sorted(vars(each)["TYPE"] for each in real) == list(TYPES)


def test_a_field_that_is_not_json_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^object is not JSON$"):
        Hostname(object()).data()  # type: ignore[arg-type]


def test_every_complaint_that_is_made_is_in_the_schema_with_its_details() -> None:
    made = list(complaints_made())
    known = {kind: schema["properties"].keys() for kind, schema in KINDS.items()}
    known["autoboot"] = {"kind", "message", "seconds"}

    assert {kind for kind, _ in made} | {"ended", "failed", "warning"} == known.keys()
    assert [each for each in made if each[1] | {"kind", "message"} != known[each[0]]] == []


def test_every_event_is_described_with_its_fields() -> None:
    described = rows("An event")
    for name in ("boot", "failure", "autoboot"):
        assert described[name] == DEFINED["$defs"][name]["properties"].keys() - {"schema", "event"}


def test_every_field_of_a_command_is_described() -> None:
    properties = set(DEFINED["$defs"]["command"]["properties"])
    section = DOCUMENT.split("\n## A command\n")[1].split("\n## ")[0]
    assert {
        name
        for line in section.splitlines()
        if line.startswith("| `")
        for name in names_in(line.split("|")[1])
    } == properties


def test_the_example_of_the_description_fits_the_schema() -> None:
    example = json.loads(DOCUMENT.split("```json\n")[1].split("```")[0])

    assert objects(f"{json.dumps(example)}\n") == [{**example, "duration_s": 0}]


def test_what_is_no_object_of_this_version_does_not_fit(account: Account) -> None:
    told = only(account, "hostname")
    OPEN_VALIDATOR.validate(told)
    spoilt: list[Object] = [
        {"schema": "filer/2"},
        {"status": 2},
        {"line": None},
        {"results": [{"type": "hostname"}]},
        {"results": [{}]},
        {"errors": [{"kind": "usage", "message": ""}]},
        {"errors": ["text"]},
        {"questions": [{"question": "?"}]},
    ]

    assert [spoil for spoil in spoilt if OPEN_VALIDATOR.is_valid(told | spoil)] == []
    assert not VALIDATOR.is_valid(told | {"more": 1})
    assert OPEN_VALIDATOR.is_valid(told | {"more": 1})


def test_a_clock_that_was_set_back_leaves_a_filer_just_started() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    uptime = Uptime.of(now, now + timedelta(minutes=5))
    assert uptime.data()["seconds"] == 0
    assert " up 0 mins, " in "".join(uptime.lines())


def test_an_object_names_the_file_of_its_line(account: Account) -> None:
    for name in ("first", "second"):
        (account.home / name).write_text("hostname\n", encoding="ascii")

    ended = account.run("--format", "json", "first", "-", "second", input="hostname\n")

    told = [each for each in objects(ended.out) if "command" in each]
    assert [each.get("file") for each in told] == ["first", None, "second"]
