"""The program: a run against the trial key server, formats, options, interruption, clean-up."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import jsonschema
import pexpect
import pytest

from filer.keyserver.server import KeyServer
from filer.keyserver.stored_keys import stores_in
from filer.qualify.catalogue import BUILT_IN
from filer.qualify.options import PROGRAM, parse
from filer.qualify.session import Plan
from filer.throw_away.certificates import Authority
from filer.throw_away.ledger import OTHER_CLIENT, read
from pytest_filer.child import PATIENCE, Child
from tests.kit import defective, faulty, qualify_documents
from tests.kit.defective import Server
from tests.kit.json_schema import schema_text
from tests.kit.paths import CHECKOUT
from tests.kit.points import ALL, paired
from tests.qualify.conftest import ADDRESSES
from tests.qualify.runs import SETTINGS, qualified

ADDRESS = ADDRESSES[0]
REGISTER_NOTHING = ("--check", "versions", "--check", "clock")
REGISTER_HUNDREDS = {"locate-complete", "response-limit", "pairs-in-time", "crowded-server"}
SCHEMA: dict[str, Any] = json.loads(
    (files("filer.qualify") / "filer-qualify-1.schema.json").read_text("ascii")
)


@dataclass
class Ended:
    status: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


def environment(home: Path, **more: str) -> dict[str, str]:
    return {"PATH": os.defpath, "HOME": str(home), "XDG_STATE_HOME": str(home / "state"), **more}


def started(home: Path, *arguments: object, **more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "filer.qualify", *map(str, arguments)],
        cwd=CHECKOUT,
        env=environment(home, **more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(home: Path, *arguments: object, **more: str) -> Ended:
    with started(home, *arguments, **more) as process:
        out, err = process.communicate()
    return Ended(process.returncode, out, err)


def ledgers(home: Path) -> list[Path]:
    return list((home / "state").rglob("*.ledger"))


@pytest.fixture
def server(certs: Path) -> Iterator[Server]:
    with defective.start(certs, ADDRESS) as running:
        yield running


Qualify = Callable[..., Ended]


@pytest.fixture
def qualify(server: Server, tmp_path: Path) -> Qualify:
    """Return a function that runs the program against ``server``."""

    def run_it(*arguments: object, **more: str) -> Ended:
        target = ("--certs", server.directory, "--port", server.port, "--timeout", PATIENCE)
        return run(tmp_path, *target, *arguments, server.address, **more)

    return run_it


# A whole run, as it is installed.

MADE = [each.name for each in BUILT_IN if ALL or each.name not in REGISTER_HUNDREDS]


@pytest.fixture(scope="module")
def whole(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, KeyServer]:
    home = tmp_path_factory.mktemp("home")
    directory = home / "keys"
    shutil.copytree(authority, directory)
    with KeyServer(directory, "127.0.0.2", port=0) as running:
        ended = run(
            home,
            *("--certs", directory, "--port", running.port, "--timeout", PATIENCE),
            *(word for name in MADE for word in ("--check", name)),
            *("--idle", 1, "--format", "json", "--verbose", running.address),
        )
    assert not ledgers(home)
    return ended, running


@pytest.mark.sampled
def test_the_trial_key_server_is_fit(whole: tuple[Ended, KeyServer]) -> None:
    ended, server = whole
    *results, verdict = ended.objects

    assert (ended.status, ended.err) == (0, "")
    assert [each["check"] for each in results] == MADE
    assert verdict["fit"]
    assert verdict["blockers"] == verdict["warnings"] == 0
    status = {each["check"]: each["status"] for each in results}
    # The published cases have custom attributes, which PyKMIP refuses.
    assert {name for name, each in status.items() if each == "failed"} == {"oasis-profile"}
    assert {name for name, each in status.items() if each == "not_tested"} == {
        "ha-partner",
        "durability",
        "replication",
    }
    (store,) = stores_in(server.directory, [server.address])
    assert list(store.listed()) == []


def test_the_trial_key_server_is_fit_for_hundreds_of_pairs_in_small(
    authority: Path, tmp_path: Path
) -> None:
    directory = shutil.copytree(authority, tmp_path / "keys")
    chosen = [each for each in BUILT_IN if each.name in REGISTER_HUNDREDS]
    with KeyServer(directory, "127.0.0.2", port=0) as running:
        plan = Plan([running.address], running.port, directory, SETTINGS)
        made = qualified(plan, tmp_path / "ledger", chosen)

    assert {each.status for each in made.results.values()} == {"passed"}
    assert made.results.keys() == REGISTER_HUNDREDS
    assert made.complaints == []


def test_a_run_is_reported_in_json(whole: tuple[Ended, KeyServer]) -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for each in whole[0].objects:
        validator.validate(each)
        assert each["schema"] == "filer-qualify/1"
    for each in whole[0].objects[:-1]:
        handshakes_only = each["check"] in {"tls-versions", "server-certificate"}
        if each["status"] != "not_tested" and not handshakes_only:
            assert each["exchanges"], each["check"]
            assert all(one["request"].startswith(("KMIP", "(")) for one in each["exchanges"])


# Documents.


def test_the_documents_are_those_of_the_checks() -> None:
    again = "run `make schema`"
    document = qualify_documents.DOCUMENT.read_text("ascii")
    assert qualify_documents.with_checks(document) == document, again
    schema = schema_text(qualify_documents.schema())
    assert qualify_documents.FILE.read_text("ascii") == schema, again
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert f"For each of its {len(BUILT_IN)} checks" in readme


def test_each_check_is_documented_by_its_function() -> None:
    for check in BUILT_IN:
        title, sent, meaning = check.text.split("\n\n")
        assert not title.endswith("."), check.name
        assert "Pass" in sent or "pass" in sent, check.name
        assert sent.endswith("."), check.name
        assert meaning.endswith("."), check.name
        assert set(check.needs) <= {each.name for each in BUILT_IN}, check.name


def test_a_check_is_explained(tmp_path: Path) -> None:
    ended = run(tmp_path, "--explain", "isolation")

    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("isolation (blocker)\n\nAnother client cannot see")
    listed = run(tmp_path, "--explain")
    assert [line.split()[0] for line in listed.out.splitlines()] == [
        check.name for check in BUILT_IN
    ]


PLUG_IN = """
from filer.qualify.outcome import WARNING, Problem, check


@check(WARNING)
def always_wrong(server):
    \"\"\"Nothing is ever right

    Nothing is sent. Passes never.

    It is only a test.
    \"\"\"
    yield Problem(WARNING, f"{server.address} is wrong")
"""


def add_plug_in(directory: Path, value: str) -> None:
    (directory / "extra_check.py").write_text(PLUG_IN, encoding="ascii")
    described = directory / "extra_check-1.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: extra-check\nVersion: 1\n")
    entry = f"[filer.qualify.checks]\nextra = {value}\n"
    (described / "entry_points.txt").write_text(entry, encoding="ascii")


def test_another_distribution_adds_a_check(qualify: Qualify, tmp_path: Path) -> None:
    add_plug_in(tmp_path, "extra_check:always_wrong")

    ended = qualify("--check", "always-wrong", PYTHONPATH=str(tmp_path))

    assert ended.status == 0
    assert f"FAILED      always-wrong: warning: {ADDRESS} is wrong" in ended.out
    assert "It is only a test." in ended.out


@pytest.mark.parametrize("value", ["extra_check:nothing", "no_such_module:x", "extra_check:check"])
def test_a_plug_in_that_is_not_a_check_is_named(
    value: str, qualify: Qualify, tmp_path: Path
) -> None:
    add_plug_in(tmp_path, value)

    ended = qualify(PYTHONPATH=str(tmp_path))

    assert (ended.status, ended.out) == (2, "")
    assert len(ended.err.splitlines()) == 1
    assert "check" in ended.err


# Called wrongly.


WRONG_CALLS: Sequence[tuple[Sequence[str], str]] = (
    ([], "give the directory of the certificates with --certs DIR"),
    (["--certs", "x"], "give the IP address of a key server"),
    (["--certs", "x", "localhost"], "cannot be named by DNS"),
    (["--certs", "x", "192.0.2.1"], "if it is yours, add --yes-this-is-my-server"),
    (["--certs", "x", "--check", "isolaton", "127.0.0.1"], 'did you mean "isolation"?'),
    (["--explain", "x"], 'there is no check "x"'),
    (["--certs", "x", "--timeout", "0", "127.0.0.1"], "is not a number of seconds"),
    (["--certs", "x", "--timeout", "nan", "127.0.0.1"], "is not a number of seconds"),
    (["--certs", "x", "--format", "xml", "127.0.0.1"], "invalid choice"),
    (["--certs", "x", "--keep", "--after-restart", "y", "127.0.0.1"], "exclude each other"),
    (["cleanup"], "LEDGER"),
)


def test_a_wrong_call_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, text in WRONG_CALLS:
        with pytest.raises(SystemExit) as refused:
            parse(arguments, lambda: [check.name for check in BUILT_IN])
        out, err = capsys.readouterr()
        assert (refused.value.code, out) == (2, ""), arguments
        assert text in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--certs", "x", "--check", "isolaton", "127.0.0.1"], 'did you mean "isolation"?'),
        (["--certs", "x", "--after-restart", "/nowhere", "127.0.0.1"], "/nowhere"),
        (["cleanup", "/nowhere"], "/nowhere"),
    ],
)
def test_what_cannot_begin_says_why_in_one_line(
    arguments: Sequence[str], text: str, tmp_path: Path
) -> None:
    ended = run(tmp_path, *arguments)

    assert (ended.status, ended.out) == (2, "")
    assert text in ended.err.splitlines()[-1]
    assert not ledgers(tmp_path)


def test_an_existing_file_is_not_taken_for_a_ledger(qualify: Qualify, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")

    ended = qualify("--ledger", tmp_path / "precious")

    assert (ended.status, ended.out) == (2, "")
    assert "exists already" in ended.err
    assert (tmp_path / "precious").read_text() == "mine"
    ended = run(tmp_path, "cleanup", tmp_path / "precious")
    assert (ended.status, ended.err.splitlines()[-1]) == (
        2,
        f"filer-qualify: {tmp_path}/precious: not a ledger of filer-qualify",
    )


def test_a_server_that_is_not_there_is_unfit(certs: Path, tmp_path: Path) -> None:
    ended = run(tmp_path, "--certs", certs, "--port", 1, "--format", "json", ADDRESS)
    first, *others, verdict = ended.objects

    assert ended.status == 1
    assert first["problems"] == [{"severity": "blocker", "message": "connection refused"}]
    assert {each["status"] for each in others} == {"not_tested"}
    assert not verdict["fit"]
    assert not ledgers(tmp_path)


@pytest.mark.parametrize("missing", ["client.pem", "client_private.pem", f"{ADDRESS}_CA.pem"])
def test_a_missing_certificate_is_named(
    missing: str, server: Server, certs: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "certs"
    directory.mkdir()
    for path in certs.iterdir():
        if path.name != missing and path.is_file():
            (directory / path.name).write_bytes(path.read_bytes())

    ended = run(tmp_path, "--certs", directory, "--port", server.port, ADDRESS)

    assert ended.status in (1, 2)
    assert missing in ended.out + ended.err
    assert "Traceback" not in ended.err


# The formats.


def test_text_names_each_check_and_the_verdict(qualify: Qualify) -> None:
    ended = qualify(*REGISTER_NOTHING)

    assert (ended.status, ended.err) == (0, "")
    assert re.findall(r"^  (\S+) +(\S+):", ended.out, re.M) == [
        ("passed", "versions"),
        ("passed", "clock"),
    ]
    assert ended.out.splitlines()[-1] == f"Key server {ADDRESS} is fit for a filer."
    assert "\x1b" not in ended.out


def test_a_failure_shows_what_it_means_and_what_was_sent(server: Server, qualify: Qualify) -> None:
    server.defect = "it changes the last byte of a secret"

    ended = qualify("--check", "register-read-back")

    assert ended.status == 1
    assert "FAILED      register-read-back: blocker: the secret that is read" in ended.out
    assert "This is what a filer is for." in ended.out
    assert "> KMIP 1." in ended.out
    assert ended.out.splitlines()[-1] == f"Key server {ADDRESS} is not fit for a filer: 1 blocker."


def test_junit_has_a_case_for_each_check(server: Server, qualify: Qualify) -> None:
    server.defect = "it changes the last byte of a secret"

    checks = ("register-read-back", "versions", "ha-partner")
    ended = qualify(*(word for name in checks for word in ("--check", name)), "--format", "junit")

    (suite,) = Xml.fromstring(ended.out)
    assert ended.status == 1
    assert suite.get("name") == f"filer-qualify {ADDRESS} port {server.port}"
    assert [suite.get(name) for name in ("tests", "failures", "skipped", "errors")] == [
        "3",
        "1",
        "1",
        "0",
    ]
    kinds = {case.get("name"): [child.tag for child in case] for case in suite}
    assert kinds["register-read-back"] == ["failure", "system-out"]
    assert kinds["ha-partner"] == ["skipped"]
    assert kinds["versions"] == ["system-out"]


@pytest.mark.parametrize(
    ("more", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_and_progress_are_for_a_terminal(
    more: dict[str, str], coloured: bool, server: Server, tmp_path: Path
) -> None:
    target = ("--certs", server.directory, "--port", server.port, server.address)
    program = Child(
        sys.executable,
        ["-m", "filer.qualify", *REGISTER_NOTHING, *map(str, target)],
        cwd=CHECKOUT,
        env=environment(tmp_path) | {"TERM": "xterm"} | more,
    )
    program.expect(pexpect.EOF)
    program.close()

    assert program.exitstatus == 0
    assert program.before
    assert ("\x1b[32m" in program.before) == coloured
    assert "2/2 clock ..." in program.before


# Secrets.


@paired(
    ("form", ["text", "json", "junit"]),
    ("defect", ["it stores nothing", "", defective.TALKATIVE]),
)
def test_no_secret_is_shown_or_written(
    form: str, defect: str, server: Server, qualify: Qualify, tmp_path: Path
) -> None:
    server.defect = defect
    (tmp_path / "password").write_text("Hello-Password-12\n", encoding="ascii")
    (tmp_path / "password").chmod(0o600)
    login = ("--login", "admin", os.path.relpath(tmp_path / "password"))
    checks = ("--check", "register-read-back", "--check", "attributes")

    ended = qualify("--format", form, "--verbose", *checks, *login, "--keep")

    (ledger,) = ledgers(tmp_path)
    kept = ledger.read_text(encoding="utf-8")
    told = ended.out + ended.err + kept
    assert len(server.store.secrets) >= 3
    for secret in server.store.secrets:
        for shape in (secret.decode(), secret.hex(), secret.hex().upper(), repr(secret)[2:-1]):
            assert shape not in told
            assert json.dumps(shape)[1:-1] not in told
    if form != "junit" or defect == "it stores nothing":  # it shows the requests of failed checks
        assert "Credential" in ended.out
    assert "Password-12" not in told
    assert str(tmp_path / "password") in kept


# The ledger.


def test_a_pair_is_in_the_ledger_before_it_is_registered(
    server: Server, qualify: Qualify, tmp_path: Path
) -> None:
    missing = []

    def look(name: str) -> None:
        (ledger,) = ledgers(tmp_path)
        assert stat.S_IMODE(ledger.stat().st_mode) == 0o600
        if name not in {entry.name for entry in read(PROGRAM, ledger)[2]}:
            missing.append(name)

    server.on_register = look
    checks = ("register-read-back", "attributes", "oasis-profile")
    ended = qualify(*(word for name in checks for word in ("--check", name)))

    assert ended.status == 0
    assert len(server.store.names) >= len(checks)
    assert missing == []
    assert not ledgers(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_leaves_nothing(
    number: signal.Signals, server: Server, tmp_path: Path
) -> None:
    target = ("--certs", server.directory, "--port", server.port, "--timeout", PATIENCE)
    with started(tmp_path, *target, server.address) as process:

        def interrupt(_name: str) -> None:
            if len(server.store.names) == 2:
                process.send_signal(number)

        server.on_register = interrupt
        out, err = process.communicate()

    assert (process.returncode, err) == (130, "")
    assert len(server.store.names) >= 2
    assert server.store.objects == {}
    assert not ledgers(tmp_path)
    assert "Traceback" not in out


@pytest.mark.parametrize("ends", ["by a signal", "by itself"])
def test_a_pair_that_may_still_appear_stays_in_the_ledger(
    ends: str, authority: Path, tmp_path: Path
) -> None:
    timeout = PATIENCE if ends == "by a signal" else 1
    with faulty.running(authority, tmp_path / "key servers", 1) as (server,):
        target = ("--certs", server.directory, "--port", server.port, "--timeout", timeout)
        check = "register-read-back"
        is_over = threading.Event()
        with started(tmp_path, *target, "--check", check, server.address) as process:

            def store_late(_server: faulty.FaultyKeyServer, proceed: Callable[[], Any]) -> Any:
                if ends == "by a signal":
                    process.send_signal(signal.SIGINT)
                is_over.wait(PATIENCE)
                return proceed()

            server.on("REGISTER", store_late)
            _out, err = process.communicate()
        (ledger,) = ledgers(tmp_path)
        assert f"to destroy them, run: filer-qualify cleanup {ledger}" in err
        server.recover()
        is_over.set()
        deadline = time.monotonic() + PATIENCE
        while not faulty.stored_key_ids(server):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert run(tmp_path, "cleanup", ledger).status == 0
        assert faulty.stored_key_ids(server) == []


def killed(
    server: Server,
    home: Path,
    *arguments: str,
    when: Callable[[defective.Store], bool] = lambda store: len(store.names) == 2,
) -> Path:
    """Kill a run as soon as ``when`` is true after a Register; return its ledger."""
    target = ("--certs", server.directory, "--port", server.port, "--timeout", PATIENCE)
    with started(home, *target, *arguments, server.address) as process:

        def kill(_name: str) -> None:
            if when(server.store):
                process.kill()

        server.on_register = kill
        process.communicate()
    server.on_register = lambda name: None
    (ledger,) = ledgers(home)
    return ledger


def test_clean_up_destroys_what_a_killed_run_has_left(server: Server, tmp_path: Path) -> None:
    ledger = killed(server, tmp_path)
    assert server.store.objects

    ended = run(tmp_path, "cleanup", ledger)

    assert (ended.status, ended.err) == (0, "")
    assert ended.out.endswith("objects of the ledger are gone.\n")
    assert server.store.objects == {}
    assert not ledger.exists()


def test_clean_up_destroys_nothing_else(server: Server, tmp_path: Path) -> None:
    ledger = killed(server, tmp_path)
    head, *lines = ledger.read_text().splitlines()
    stored = next(iter(server.store.objects.values()))
    entry = json.loads(lines[0])
    # Another secret under a name of the ledger, and a name that a filer uses, with the secret of
    # the ledger: someone has edited it.
    server.store.objects["same-name"] = defective.Stored(
        stored.owner, stored.kind, changed(stored.content), stored.attributes
    )
    real = "080CF0C8" + "0" * 56
    server.store.objects["real"] = renamed(stored, real)
    lines.append(json.dumps({**entry, "name": real}))
    ledger.write_text("\n".join([head, *lines, lines[-1][:40]]))

    ended = run(tmp_path, "cleanup", ledger)

    assert set(server.store.objects) == {"same-name", "real"}
    assert ended.status == 1
    assert f"such as {real}" in ended.err
    assert ledger.exists()


def test_clean_up_destroys_objects_of_any_type(server: Server, tmp_path: Path) -> None:
    def has_symmetric_key(store: defective.Store) -> bool:
        return any(stored.kind == defective.SYMMETRIC_KEY for stored in store.objects.values())

    ledger = killed(
        server, tmp_path, "--check", "filters", "--check", "attributes", when=has_symmetric_key
    )
    assert has_symmetric_key(server.store)

    assert run(tmp_path, "cleanup", ledger).status == 0
    assert server.store.objects == {}


def test_clean_up_with_another_certificate_keeps_the_ledger(server: Server, tmp_path: Path) -> None:
    ledger = killed(server, tmp_path)
    others = tmp_path / "others"
    shutil.copytree(server.directory, others)
    issued = Authority.of(others).issue("another")
    (others / "client_private.pem").write_bytes(issued)
    (others / "client.pem").write_bytes(issued[issued.index(b"-----BEGIN CERT") :])

    ended = run(tmp_path, "cleanup", "--certs", others, ledger)

    assert ended.status == 1
    assert ended.err.endswith(f"filer-qualify: {OTHER_CLIENT}\n")
    assert run(tmp_path, "cleanup", ledger).status == 0
    assert server.store.objects == {}


def changed(content: Any) -> Any:
    """Return key material with another first byte."""
    value = content.value
    at = value.index(b"\x42\x00\x43\x08") + 8
    return type(content)(
        content.tag, content.type, value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]
    )


def renamed(stored: defective.Stored, name: str) -> defective.Stored:
    attributes = [
        defective.Attribute(
            each.name, defective.name_of(name) if each.name == "Name" else each.value
        )
        for each in stored.attributes
    ]
    return defective.Stored(stored.owner, stored.kind, stored.content, attributes)


def test_a_server_that_does_not_destroy_keeps_the_ledger(
    server: Server, qualify: Qualify, tmp_path: Path
) -> None:
    server.defect = "Destroy does nothing"
    ended = qualify("--check", "register-read-back")

    (ledger,) = ledgers(tmp_path)
    assert ended.err.endswith(f"run: filer-qualify cleanup {ledger}\n")
    server.defect = ""
    assert run(tmp_path, "cleanup", ledger).status == 0
    assert server.store.objects == {}


# Durability.


@pytest.mark.parametrize(("fate", "status"), [("kept", 0), ("lost", 1), ("changed", 1)])
def test_what_a_restart_does_to_a_key_is_found(
    fate: str, status: int, server: Server, qualify: Qualify, tmp_path: Path
) -> None:
    ledger = tmp_path / "kept"
    assert qualify(*REGISTER_NOTHING, "--keep", "--ledger", ledger).status == 0
    ((name, stored),) = server.store.objects.items()
    assert [entry.name for entry in read(PROGRAM, ledger)[2]] == server.store.names[-1:]
    if fate == "lost":
        server.store.objects.clear()
    if fate == "changed":
        stored.content = changed(stored.content)

    ended = qualify("--after-restart", ledger, "--format", "json")

    result, verdict = ended.objects
    assert ended.status == status
    assert (result["check"], verdict["fit"]) == ("durability", not status)
    assert server.store.objects == ({name: stored} if fate == "changed" else {})
    assert not ledger.exists()
