"""filer-storm against key servers in a process of their own: verdicts, reports, clean-up."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import jsonschema
import psutil
import pytest

from filer.host.errors import FilerError
from filer.keyserver.authority import AUTHORITY_PRIVATE
from filer.storm.catalogue import load
from filer.storm.options import parse
from filer.storm.outcome import NO_VERDICT
from pytest_filer.child import PATIENCE
from tests.kit import choosy, defective, pki, storm_documents
from tests.kit.json_schema import schema_text
from tests.kit.leaks import visible
from tests.kit.paths import CHECKOUT
from tests.storm.conftest import SERVERS, UNSERVED, Ended, Storms, ended, generators

SMALL = ("--filers", 3, "--pairs", 1)
SCHEMA: dict[str, Any] = json.loads(
    (files("filer.storm") / "filer-storm-1.schema.json").read_text("ascii")
)

WAITING = """
from pathlib import Path
from filer.storm.scenario import Scenario


class Waiting(Scenario):
    done = "patient"

    def run(self):
        Path({mark!r}, str(self.filer.number)).touch()
        self.filer.pause(3600)
"""

HALF_STORED = """
from pathlib import Path
from filer.storm.scenarios.rekey import PARENT_TAG, Rekey


class HalfStored(Rekey):
    def run(self):
        self._is_stored = True
        self._servers.store(self._pair, PARENT_TAG)
        Path({mark!r}, str(self.filer.number)).touch()
        self.filer.pause(3600)

    def stop(self):
        super().stop()
        assert not self._is_stored
        Path({mark!r}, f"{{self.filer.number}} has taken back").touch()
"""

SLOW_TO_LISTEN = """
import gevent
from filer.storm.scenarios.rekey import Rekey
from locust.runners import WorkerRunner


class Slow(Rekey):
    done = "awake"


def connect(runner, connect_at_once=WorkerRunner.connect_to_master):
    connect_at_once(runner)
    gevent.sleep(1)


WorkerRunner.connect_to_master = connect
"""

BUSY = """
import time
from filer.storm.scenario import Scenario


class Busy(Scenario):
    done = "busy"

    def run(self):
        ends = time.monotonic() + 0.6
        while time.monotonic() < ends:
            pass
"""


def scenario(directory: Path, text: str) -> Path:
    """Write a scenario; its filers make marks in the directory ``marks`` beside it."""
    (directory / "marks").mkdir(exist_ok=True)
    path = directory / "scenario_of_a_test.py"
    path.write_text(text.format(mark=str(directory / "marks")), encoding="ascii")
    return path


def wait_until(condition: Callable[[], object]) -> None:
    ends = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.05)


def wait_for_marks(directory: Path, count: int, process: "subprocess.Popen[str]") -> None:
    def there() -> bool:
        assert process.poll() is None, process.communicate()
        return len(list((directory / "marks").iterdir())) == count

    wait_until(there)


class Headings(HTMLParser):
    """Collects the text of the first heading and of the title."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside in ("title", "h1", "pre"):
            self.texts.setdefault(self._inside, data)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# The verdict and the reports.


def test_one_certificate_for_all(storms: Storms, tmp_path: Path) -> None:
    certs = tmp_path / "certs"
    shutil.copytree(storms.site.certs, certs)
    (certs / AUTHORITY_PRIVATE).unlink()

    refused = storms.run(*SMALL, certs=certs)
    run = storms.run(*SMALL, "--tagged", certs=certs)

    assert refused.status == 2
    assert refused.err == (
        "filer-storm: each filer needs a client certificate of its own, and DIR has no "
        "authority_private.pem that could issue one; with --tagged, all filers share client.pem\n"
    )
    assert (run.status, run.err) == (0, "")
    assert run.lines[0].startswith("3 of 3 filers up, the last after ")
    assert (
        "all filers had one client certificate, and each loaded its pairs by key tag" in run.lines
    )


def test_a_rekey_by_a_master_and_a_worker_that_are_started_apart(storms: Storms) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    both = ("--scenario", "rekey", "--certs", storms.site.certs)
    target = ("--port", storms.site.port, *SERVERS)
    master = storms.begin("--master", "--bind", f"127.0.0.1:{port}", *both, *SMALL, *target)
    worker = storms.begin("--worker", f"127.0.0.1:{port}", *both)
    led, worked = ended(master), ended(worker)

    assert (led.status, led.err) == (0, "")
    assert led.lines[0].startswith("3 of 3 filers rekeyed, the last after ")
    assert {"store", "find"} < {line.split(" ")[0] for line in led.lines if line}
    assert (worked.status, worked.out, worked.err) == (0, "", "")
    assert not storms.left()


def test_a_worker_that_is_slow_to_listen_gets_its_plan(storms: Storms, tmp_path: Path) -> None:
    file = scenario(tmp_path, SLOW_TO_LISTEN)

    run = ended(storms.start(*SMALL, "--scenario", file, "--workers", 2, *SERVERS))

    assert (run.status, run.err) == (0, "")
    assert run.lines[0].startswith("3 of 3 filers awake, the last after ")


def test_a_worker_with_another_scenario_is_refused(storms: Storms) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = f"127.0.0.1:{free.getsockname()[1]}"
    both = ("--certs", storms.site.certs)
    target = ("--port", storms.site.port, "--scenario", "rekey", "--stocked")
    master = storms.begin("--master", "--bind", place, *both, *target, *SMALL, *SERVERS)
    worker = storms.begin("--worker", place, *both)
    led, worked = ended(master), ended(worker)

    assert (led.status, worked.status) == (2, 2)
    reason = "filer-storm: the master has the scenario rekey; start with the same one\n"
    assert led.err == worked.err == reason
    assert not storms.left()


def test_a_generator_that_is_too_slow_gives_no_verdict(storms: Storms, tmp_path: Path) -> None:
    file, report = scenario(tmp_path, BUSY), tmp_path / "report"
    options = ("--scenario", file, "--timeout", 1, "--junit", report)

    run = ended(storms.start(*SMALL, *options, *SERVERS))

    assert (run.status, run.err) == (3, "")
    assert run.lines[0] == NO_VERDICT
    assert run.lines[1].startswith("3 of 3 filers busy")
    (suite,) = Xml.parse(report).getroot()
    assert [case.find("error") is not None for case in suite] == [True, False, False, False]


# Key servers that fail.


def test_without_a_key_server_there_is_no_storm(storms: Storms) -> None:
    run = ended(storms.start(*SMALL, SERVERS[0], UNSERVED))

    assert (run.status, run.out) == (2, "")
    assert run.err == f"filer-storm: key server {UNSERVED} is not responding: connection refused\n"
    assert not storms.left()


def test_a_key_server_that_has_died_since(storms: Storms) -> None:
    run = ended(storms.start(*SMALL, "--stocked", UNSERVED))

    assert (run.status, run.err) == (1, "")
    assert run.lines[0] == "0 of 3 filers up"
    assert f"failed: 3 filers: key server {UNSERVED}: connection refused" in run.lines
    assert f"fetch {UNSERVED}: 3, 3 failed, " in run.out


def test_key_servers_that_have_lost_the_pairs(storms: Storms) -> None:
    run = storms.run(*SMALL, "--stocked")

    assert run.status == 1
    assert f"failed: 3 filers: key server {SERVERS[0]}: it shows 0 key pairs, not 1" in run.lines


@pytest.mark.parametrize("stocked", [False, True])
def test_key_servers_that_refuse_the_clients(stocked: bool, storms: Storms, tmp_path: Path) -> None:
    certs = tmp_path / "certs"
    shutil.copytree(storms.site.certs, certs)
    (certs / AUTHORITY_PRIVATE).write_bytes(pki.authority().private_pem())

    run = storms.run(*SMALL, *(["--stocked"] if stocked else []), certs=certs)

    assert run.status == (1 if stocked else 2)
    assert "client certificate rejected" in (run.out if stocked else run.err)
    assert not storms.left()


def test_key_servers_that_ignore_the_tag(authority: Path, storms: Storms) -> None:
    with defective.start(authority, SERVERS[0], "Locate ignores the group") as server:
        run = ended(
            storms.begin(
                *("--certs", authority, "--port", server.port, "--timeout", PATIENCE),
                *("--tagged", "--filers", 2, "--pairs", 1, server.address),
            )
        )

    assert (run.status, run.err) == (0, "")
    assert run.lines[0].startswith("2 of 2 filers up")


@pytest.mark.parametrize(
    "habits",
    [
        choosy.Habits(versions=((1, 2),), items=3, closes=True),
        choosy.Habits(
            wants_discovery=True,
            strict=True,
            refused_attributes=frozenset({"Application Specific Information"}),
        ),
    ],
    ids=["old and small", "strict"],
)
def test_key_servers_with_habits_of_their_own(
    habits: choosy.Habits, authority: Path, storms: Storms
) -> None:
    with choosy.start(authority, SERVERS[0], habits) as server:
        run = ended(
            storms.begin(
                *("--certs", authority, "--port", server.port, "--timeout", PATIENCE),
                *("--filers", 1, "--pairs", 4, server.address),
            )
        )

    assert (run.status, run.err) == (0, "")
    assert run.lines[0].startswith("1 of 1 filers up")
    assert server.objects == {}


# Rekey, and what is left behind.


def test_a_signal_ends_the_storm_and_takes_everything_back(storms: Storms, tmp_path: Path) -> None:
    storm = storms.start(*SMALL, "--scenario", scenario(tmp_path, HALF_STORED), *SERVERS)
    wait_for_marks(tmp_path, 3, storm)
    processes = generators(storm)

    run = ended(storm, signal.SIGTERM)

    assert (run.status, run.out, run.err) == (128 + signal.SIGINT, "", "")
    assert len(list((tmp_path / "marks").glob("* has taken back"))) == 3
    assert processes
    assert not any(process.is_running() for process in processes)
    assert not storms.left()


def test_a_lost_worker_has_failed_and_its_pairs_are_destroyed(
    storms: Storms, tmp_path: Path
) -> None:
    file, report = scenario(tmp_path, HALF_STORED), tmp_path / "report"
    storm = storms.start(
        *("--workers", 2, "--scenario", file, "--filers", 4, "--pairs", 1, "--within", 8),
        *("--junit", report, *SERVERS),
    )
    wait_for_marks(tmp_path, 4, storm)
    leader, *workers = generators(storm)
    listening = [
        each.laddr.ip
        for process in (leader, *workers, psutil.Process(storm.pid))
        for each in process.net_connections()
        if each.status == psutil.CONN_LISTEN
    ]
    workers[0].kill()

    run = ended(storm)

    assert len(workers) == 2
    assert listening == ["127.0.0.1"]
    assert (run.status, run.err) == (1, "")
    assert run.lines[0] == "0 of 4 filers rekeyed"
    assert "failed: 2 filers: its worker was lost" in run.lines
    assert "failed: 2 filers: not rekeyed within 8 s" in run.lines
    assert [line for line in run.lines if line.endswith(" filers, lost")]
    (suite,) = Xml.parse(report).getroot()
    assert suite.get("failures") == "4"
    assert not any(process.is_running() for process in (leader, *workers))
    assert not storms.left()


def test_after_a_kill_the_ledger_is_enough(storms: Storms, tmp_path: Path) -> None:
    storm = storms.start(*SMALL, "--scenario", scenario(tmp_path, HALF_STORED), *SERVERS)
    wait_for_marks(tmp_path, 3, storm)
    processes = generators(storm)
    shown = visible(storm.pid)

    killed = ended(storm, signal.SIGKILL)
    wait_until(lambda: not any(process.is_running() for process in processes))
    (ledger,) = storms.ledgers
    kept = storms.site.stored()
    text, mode_of_ledger = ledger.read_text(), mode(ledger)
    secrets = storms.site.secrets()
    written = [path.read_bytes() for path in storms.home.rglob("*") if path.is_file()]
    cleaned = ended(storms.begin("cleanup", ledger))

    assert len(kept) >= 3 * len(SERVERS)
    assert mode_of_ledger == 0o600
    assert all(key.key_id in text for key in kept)
    assert text.encode() in written
    for data in (*written, *shown.values(), killed.out.encode(), killed.err.encode()):
        assert not secrets.are_in(data)
    assert (cleaned.status, cleaned.err) == (0, "")
    assert cleaned.out.endswith(" objects of the ledger are gone.\n")
    assert storms.ledgers == []


def check_reports(run: Ended, reports: Mapping[str, Path]) -> None:
    """Check what a storm of three filers has said and written."""
    assert run.status == 0
    assert re.fullmatch(r"3 of 3 filers up, the last after \d+\.\d s", run.lines[0])
    assert "each filer had a client certificate of its own" in run.lines
    assert [mode(path) for path in reports.values()] == [0o600] * 3
    found = json.loads(reports["json"].read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(found)
    assert (found["verdict"], found["message"]) == ("passed", run.lines[0])
    assert (found["filers"], found["succeeded"], found["failures"]) == (3, 3, [])
    assert {(each["operation"], each["key_server"]) for each in found["operations"]} == {
        ("fetch", address) for address in SERVERS
    }
    assert {each["requests"] for each in found["operations"]} == {3}
    assert [each["number"] for each in found["results"]] == [0, 1, 2]
    assert all(0 < each["seconds"] <= found["last_s"] for each in found["results"])
    (suite,) = Xml.parse(reports["junit"]).getroot()
    assert [case.get("name") for case in suite] == [
        "load generator",
        *map("filer {}".format, range(3)),
    ]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "0", "0")
    page = Headings(reports["html"].read_text())
    assert page.texts["h1"] == page.texts["title"] == run.lines[0]
    assert run.lines[-1] in page.texts["pre"]


def test_pairs_that_are_kept_serve_the_next_storm(storms: Storms, tmp_path: Path) -> None:
    reports = {kind: tmp_path / f"report.{kind}" for kind in ("json", "junit", "html")}
    options = [word for kind, path in reports.items() for word in (f"--{kind}", path)]

    first = storms.run(*SMALL, "--keep", *options)
    second = storms.run(*SMALL, "--stocked")
    (ledger,) = storms.ledgers
    wrong = ended(storms.begin("cleanup", "--certs", storms.home, ledger))
    cleaned = ended(storms.begin("cleanup", ledger))

    check_reports(first, reports)
    assert first.err == (
        "filer-storm: 6 objects are kept for --stocked; to destroy them, run: "
        f"filer-storm cleanup {ledger}\n"
    )
    assert (second.status, second.err) == (0, "")
    assert second.lines[0].startswith("3 of 3 filers up")
    assert wrong.status == 1
    assert "6 objects may be left" in wrong.err
    assert (cleaned.status, cleaned.out) == (0, "6 objects of the ledger are gone.\n")
    assert not storms.left()


# A scenario of one's own.


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def", "cannot be run: SyntaxError: invalid syntax (scenario_of_a_test.py, line 1)"),
        ("1 / 0", "cannot be run: ZeroDivisionError: division by zero"),
        ("", "it must have one class derived from filer.storm.scenario.Scenario, and has 0"),
    ],
)
def test_a_file_without_a_scenario(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(FilerError) as refused:
        load(str(scenario(tmp_path, text)))
    assert str(refused.value) == f"scenario_of_a_test.py: {reason}"


def test_a_file_without_a_scenario_costs_a_line(storms: Storms, tmp_path: Path) -> None:
    run = storms.run(*SMALL, "--scenario", scenario(tmp_path, "1 / 0"))

    assert (run.status, run.out) == (2, "")
    reason = "cannot be run: ZeroDivisionError: division by zero"
    assert run.err == f"filer-storm: scenario_of_a_test.py: {reason}\n"
    assert not storms.left()


def test_a_defect_in_a_scenario_is_a_failure(storms: Storms, tmp_path: Path) -> None:
    file = scenario(tmp_path, WAITING.replace("pause(3600)", "no_such_thing()"))

    run = storms.run(*SMALL, "--scenario", file)

    assert (run.status, run.err) == (1, "")
    assert "failed: 3 filers: the scenario has a defect (AttributeError)" in run.lines


def test_the_scenario_of_the_document(storms: Storms, tmp_path: Path) -> None:
    document = (CHECKOUT / "docs" / "STORM.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    file = tmp_path / "boot_and_watch.py"
    file.write_text(text, encoding="utf-8")

    run = storms.run(*SMALL, "--scenario", file)

    assert (run.status, run.err) == (0, "")
    assert run.lines[0].startswith("3 of 3 filers up and watched, the last after ")


# Called wrongly.


def alone(
    *arguments: object, python: Sequence[str] = ("-m", "filer.storm"), **environment: str
) -> Ended:
    ran = subprocess.run(
        [sys.executable, *python, *map(str, arguments)],
        cwd=CHECKOUT,
        env={"PATH": os.defpath, "HOME": "/nowhere", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return Ended(ran.returncode, ran.stdout, ran.stderr)


TARGET = ("--certs", "x", "127.0.0.1")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "give the directory of the certificates with --certs DIR"),
        (["--certs", "x"], "give the IP address of a key server"),
        (["--certs", "x", "localhost"], "cannot be named by DNS"),
        (["--certs", "x", "192.0.2.1"], "if it is yours, add --yes-this-is-my-server"),
        (["--certs", "x", *(f"127.0.0.{n}" for n in range(1, 6))], "at most four key servers"),
        ([*TARGET, "--filers", "0"], '"0" is not a number from 1 to 100000'),
        ([*TARGET, "--filers", "many"], '"many" is not a number'),
        ([*TARGET, "--within", "0"], "is not a number of seconds"),
        ([*TARGET, "--within", "soon"], "is not a number of seconds"),
        ([*TARGET, "--scenario", "bot"], '"bot" is neither boot nor rekey nor a file FILE.py'),
        ([*TARGET, "--scenario", "nowhere.py"], 'there is no file "nowhere.py"'),
        ([*TARGET, "--master", "--worker", "127.0.0.1"], "not allowed with argument"),
        ([*TARGET, "--worker", "127.0.0.1"], "a worker gets the key servers and all numbers"),
        ([*TARGET, "--master", "--bind", "*"], "is not HOST or HOST:PORT"),
        ([*TARGET, "--worker", "127.0.0.1:http"], '"http" is not a TCP port'),
        ([*TARGET, "--keep", "--stocked"], "exclude each other"),
        ([*TARGET, "--json", "/nowhere/x"], "/nowhere is not a directory"),
        (["cleanup"], "LEDGER"),
    ],
)
def test_a_wrong_call_is_refused_in_one_line(
    arguments: Sequence[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(arguments)

    assert refused.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert text in shown.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["cleanup", "/nowhere"], "/nowhere: "),
        (TARGET, "each filer needs a client certificate of its own"),
        ([*TARGET, "--tagged", "--ledger", "/dev/null"], "null: exists already"),
    ],
)
def test_what_cannot_begin_says_why_in_one_line(arguments: Sequence[str], text: str) -> None:
    run = alone(*arguments)

    assert (run.status, run.out) == (2, "")
    assert run.err.startswith("filer-storm: ")
    assert text in run.err
    assert len(run.err.splitlines()) == 1


def test_the_ledger_of_another_program_is_none(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_text('{"schema": "filer-qualify-ledger/1"}\n')

    run = alone("cleanup", tmp_path / "ledger")

    assert run.status == 2
    assert run.err == f"filer-storm: {tmp_path}/ledger: not a ledger of filer-storm\n"


def test_without_locust_it_says_what_to_install(authority: Path, tmp_path: Path) -> None:
    for installed in Path(psutil.__file__).parent.parent.iterdir():
        if not installed.name.startswith("locust"):
            (tmp_path / installed.name).symlink_to(installed)

    run = alone(
        *("--certs", authority, "127.0.0.1"),
        python=["-S", "-m", "filer.storm"],
        PYTHONPATH=str(tmp_path),
    )

    assert (run.status, run.out) == (2, "")
    assert run.err == "filer-storm: it needs Locust: pip install 'filer[load]'\n"


def test_the_program_itself_is_not_patched() -> None:
    code = (
        "import sys; from filer.storm import session; from filer.storm.__main__ import main;"
        "print('gevent' in sys.modules, 'locust' in sys.modules)"
    )

    assert alone(python=["-c", code]).out == "False False\n"


def test_the_schema_is_that_of_the_report() -> None:
    text = storm_documents.FILE.read_text("ascii")
    assert text == schema_text(storm_documents.schema()), "run `make schema`"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
