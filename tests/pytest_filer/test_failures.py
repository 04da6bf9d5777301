"""What a failed test of a runbook reports: the filer's own words, no more, and no secret."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from filer.host.passphrase_rule import is_passphrase
from pytest_filer import FilerUnderTest
from pytest_filer.transcript import Transcript, may_be_passphrase, without
from tests.kit.console import OTHER_PASSPHRASE, PASSPHRASE, WEAK_PASSPHRASE
from tests.kit.pytest_runs import outcomes, run_pytest

OF_THE_KIT = ("pexpect", "pytest_filer/", "subprocess")
"""What a report does not show: modules of the kit and below."""

SHOWN = """
import pytest

def test_it(filer):
    filer.run("version")
    assert filer.console.enter("hostname") == "filer1\\n"
    filer.console.leave()
    filer.run("logger hello", "rdfile /etc/messages")
    assert filer.console.enter("sysconfig") == ""

def test_passes(filer):
    assert filer.run("hostname") == "filer1\\n"
"""


def test_the_report_has_what_consoles_showed_and_runs_printed(tmp_path: Path) -> None:
    status, printed = run_pytest(tmp_path, SHOWN, "-n", "1")

    assert (status, outcomes(printed)) == (1, "1 failed, 1 passed"), printed
    sections = [line.strip("- ") for line in printed.splitlines() if line.startswith("-----")]
    assert sections == 2 * ["filer.run: status 0", "filer.console"]
    assert "\nfiler1> hostname\nfiler1\nfiler1> " in printed
    assert "\nNetApp Release" in printed
    assert "hello" in printed
    assert "\nfiler1> sysconfig\n\tNetApp Release" in printed


PENDING = """
import pytest

@pytest.mark.filer(key_servers=0)
def test_it(filer):
    filer.run("version")
    filer.console.type("hostname\\r")
    filer.console.shows("never", timeout=1)
"""


def test_the_report_has_what_the_console_showed_last(tmp_path: Path) -> None:
    status, printed = run_pytest(tmp_path, PENDING, "-p", "no:xdist")

    assert (status, outcomes(printed)) == (1, "1 failed"), printed
    assert "Failed: 'never' did not appear within 1 s\n" in printed
    assert "\nNetApp Release" in printed
    assert "\nfiler1> hostname\nfiler1\n" in printed


WEAK = "a plain password"

SECRETS = """
import json, pytest

@pytest.mark.filer(key_servers=1)
def test_it(filer):
    with open("answers.json") as file:
        answers = json.load(file)
    filer.run(answers["run"], "key_manager add -key_server 127.0.0.2", status=1)
    console = filer.console
    for line in answers["console"]:
        console.enter(line)
    console.type(answers["type"] + "\\r")
    console.shows("not found")
    assert False
"""


def test_no_secret_is_in_the_report(tmp_path: Path) -> None:
    tries = [WEAK, WEAK, WEAK_PASSPHRASE, PASSPHRASE, PASSPHRASE, PASSPHRASE]
    at_the_prompt = [
        PASSPHRASE,
        WEAK,
        WEAK_PASSPHRASE,
        f"disk encrypt show {PASSPHRASE}",
        "hostname",
    ]
    answers = {
        "run": OTHER_PASSPHRASE,
        "console": ["key_manager rekey -manual", *tries, *at_the_prompt],
        "type": OTHER_PASSPHRASE,
    }
    (tmp_path / "answers.json").write_text(json.dumps(answers), encoding="utf-8")

    status, printed = run_pytest(tmp_path, SECRETS)

    assert (status, outcomes(printed)) == (1, "1 failed"), printed
    assert "New passphrase accepted." in printed
    assert "\nfiler1> hostname\nfiler1\n" in printed
    assert printed.count("\nfiler1> (hidden: it may be a secret)\n") == 4
    assert "\nfiler1> disk encrypt show (hidden: it may be a secret)\n" in printed
    for secret in (WEAK, WEAK_PASSPHRASE, PASSPHRASE, OTHER_PASSPHRASE):
        assert secret not in printed


REFUSED = """
import pytest

BOGUS = pytest.mark.filer(settings={"shelf": {"bogus": 1}})

@BOGUS
def test_console(filer):
    filer.console.enter("version")

@BOGUS
def test_run(filer):
    filer.run("version")

@BOGUS
def test_ssh(filer):
    filer.ssh()

@BOGUS
def test_disk(filer):
    filer.disk("0c.00.5")

@BOGUS
def test_expected(filer):
    assert "unknown key" in filer.run("version", status=2)

@pytest.mark.filer(options=("--nonsense",))
def test_option(filer):
    filer.console
"""


def test_a_filer_that_refuses_to_start_fails_the_test_in_its_own_words(tmp_path: Path) -> None:
    status, printed = run_pytest(tmp_path, REFUSED, "--show-capture=no")

    assert (status, outcomes(printed)) == (1, "5 failed, 1 passed"), printed
    failures = [line for line in printed.splitlines() if line.startswith("E ")]
    own = [line for line in failures if line.split(maxsplit=2)[2].startswith("filer: filer.toml:")]
    assert len([line for line in own if "ended with status 2" in line]) == 4
    assert len([line for line in own if 'unknown key "bogus"' in line]) == 4
    assert "unrecognized arguments: --nonsense" in printed
    assert [text for text in OF_THE_KIT if text in printed] == []
    assert len(printed.splitlines()) < 80


ENDED = """
import os, signal, pytest

pytestmark = pytest.mark.filer(key_servers=0)

def test_run(filer):
    filer.run("version", timeout=0.001)

@pytest.mark.filer(timeout=0.001)
def test_marker(filer):
    filer.run("version")

def test_stopped(filer):
    console = filer.console
    os.kill(console.pid, signal.SIGSTOP)
    console.enter("hostname", timeout=0.2)

def test_killed(filer):
    console = filer.console
    os.kill(console.pid, signal.SIGKILL)
    console.enter("hostname")

def test_left(filer):
    filer.console.enter("exit")

def test_goes_on(filer):
    filer.console.end(timeout=0.1)

def test_disk(filer):
    filer.disk("0c.00.77").fail()

def test_on(filer):
    filer.console
    filer.disk("0c.00.5").lock_out()
"""


def test_what_ends_or_takes_too_long_is_said_in_a_line(tmp_path: Path) -> None:
    status, printed = run_pytest(tmp_path, ENDED, "--show-capture=no")

    assert (status, outcomes(printed)) == (1, "8 failed"), printed
    lines = [line.removeprefix("E").strip() for line in printed.splitlines() if line[:2] == "E "]
    assert lines[:2] == 2 * ["Failed: filer did not end within 0.001 s"]
    assert lines[2].endswith(" within 0.2 s")
    assert lines[3].endswith(": filer ended with status -9")
    assert lines[4] == "Failed: there was no prompt: filer ended with status 0"
    assert lines[5] == "Failed: filer did not end within 0.1 s"
    assert lines[6].endswith('there is no disk "0c.00.77" in the shelf')
    assert "is in use by process" in lines[7]
    assert lines[7].endswith("; power the filer off before a disk is locked out")
    assert len(lines) == 8
    assert "pexpect" not in printed


@pytest.mark.filer(key_servers=0, disks=4)
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x03", "\x04", "\x16", "\x7f"])
def test_one_line_is_entered_at_a_time(filer: FilerUnderTest, end: str) -> None:
    console = filer.console
    for line in (f"hostname{end}version", f"{PASSPHRASE}{end}"):
        with pytest.raises(ValueError, match="one line, without a line end") as refused:
            console.enter(line)
        assert PASSPHRASE not in str(refused.value)

    assert console.enter("hostname") == "filer1\n"
    assert console.enter("logger\tx") == ""


# Secrets in a transcript.


@given(st.text(st.characters(max_codepoint=0x17F), max_size=40) | st.from_regex(r"[ -~]{18,34}"))
@example(PASSPHRASE)
@example("A" * 10 + "a" * 10 + "1-" + "x" * 10)
@example("A" * 10 + "a" * 10 + "1-" + "x" * 11)
@example("Aa1-" * 5)
@example("Aa1-" * 4 + "Aa1")
@example("Aa1 " * 5)
def test_the_rule_for_passphrases_is_that_of_the_filer(text: str) -> None:
    assert may_be_passphrase(text) == is_passphrase(text)


def test_a_secret_is_hidden_in_every_output_and_no_longer_word_is() -> None:
    transcript = Transcript()
    transcript.add("first", lambda: "the key is key, not keys", list)
    transcript.add("second", lambda: " \n", list)
    transcript.add("third", lambda: "a longer key", lambda: ["key", "longer key", "", " "])

    hidden = "(hidden: it may be a secret)"
    assert transcript.sections() == [
        ("first", f"the {hidden} is {hidden}, not keys"),
        ("third", f"a {hidden}"),
    ]
    assert without([], "key") == "key"
