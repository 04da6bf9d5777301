"""Commands of other distributions: found, run, completed, listed; their errors are not fatal."""

import json
import re
from importlib import import_module
from pathlib import Path

import pytest

from filer.commands import Later
from filer.shell.defects import traceback_of
from filer.shell.plugins import BUILT_IN, Commands, commands_at_loader, commands_in_maintenance
from tests.kit.console import PASSPHRASE, Account, Outcome, editing
from tests.kit.plugins import OURS, install

PLUGIN = """
from filer.commands import Answers, Call, Command, Subcommand


def _run(call: Call) -> None:
    call.say(f"Hello, {call.value('name') or call.filer.hardware.hostname}!")


ROW = Subcommand("greet [ name ]", _run, values={"name": lambda _filer: [("Alice", "")]})
COMMAND = Command("greet", "greet a user", ROW)
"""

RAISING = """
from filer.commands import Command, Subcommand


class Odd(BaseException):
    pass


def _run(call):
    call.say("before")
    raise {exception}


COMMAND = Command("fail", "fail", Subcommand("fail", _run))
"""


def test_the_built_in_commands_are_those_of_their_modules() -> None:
    offered = [
        command.name
        for module in dict.fromkeys(BUILT_IN)
        for command in import_module(module).COMMANDS
    ]

    assert [name for names in BUILT_IN.values() for name in names] == offered
    assert list(Commands(pytest.fail)) == offered


@pytest.mark.parametrize("mode", ["console", "maintenance", "LOADER"])
def test_what_every_subcommand_runs_is_there(mode: str) -> None:
    commands = {
        "console": Commands(pytest.fail),
        "maintenance": commands_in_maintenance(),
        "LOADER": commands_at_loader(),
    }[mode]
    for command in commands.values():
        for subcommand in command.subcommands:
            assert callable(
                subcommand.run.load() if isinstance(subcommand.run, Later) else subcommand.run
            )


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory in which the program looks for distributions."""
    directory = tmp_path / "site"
    directory.mkdir()
    return directory


def run(account: Account, site: Path, *commands: str) -> Outcome:
    return account.commands(*commands, environment={"PYTHONPATH": str(site)})


def listed(text: str) -> set[str]:
    return set(text.split())


@pytest.mark.parametrize("entry", ["greet", "greet:COMMAND"])
def test_a_plug_in_runs_beside_the_built_in_commands(
    account: Account, site: Path, entry: str
) -> None:
    install(site, "greet", PLUGIN, entry=entry)

    ended = run(account, site, "greet", "greet 'Bob and Carol'", "hostname")

    assert ended == ("Hello, filer1!\nHello, Bob and Carol!\nfiler1\n", "", 0)


def test_a_plug_in_may_offer_several_commands(account: Account, site: Path) -> None:
    install(
        site,
        "greet",
        f"{PLUGIN}\n"
        "hail = Command('hail', 'hail a user', ROW._replace(synopsis='hail [ name ]'))\n"
        "COMMANDS = (COMMAND, hail)\n"
        "del COMMAND\n",
    )

    assert run(account, site, "greet Al", "hail Al") == ("Hello, Al!\nHello, Al!\n", "", 0)


def test_the_synopsis_of_a_plug_in_is_its_grammar_and_its_usage(
    account: Account, site: Path
) -> None:
    install(site, "greet", PLUGIN)

    ended = run(account, site, "greet Alice Bob")

    assert ended.out == ""
    assert ended.err.splitlines() == [
        'greet: word 3: unexpected "Bob"; expected end of line',
        "usage: greet [ name ]",
    ]


def test_a_plug_in_is_listed_and_described(account: Account, site: Path) -> None:
    install(site, "greet", PLUGIN)

    ended = run(account, site, "?", "help greet")

    assert "greet" in listed(ended.out)
    assert ended.out.endswith("\ngreet - greet a user\n")


def test_tab_completes_a_plug_in_and_its_values(account: Account, site: Path) -> None:
    install(site, "greet", PLUGIN)
    with editing(account, environment={"PYTHONPATH": str(site)}) as terminal:
        terminal.booted().type("gre\t")
        terminal.shows("et")
        terminal.type(" \t")
        terminal.shows("Alice")

        assert terminal.enter() == "Hello, Alice!\n"


def test_live_values_that_cannot_be_listed_cost_the_completion_only(
    account: Account, site: Path
) -> None:
    install(site, "greet", PLUGIN.replace('lambda _filer: [("Alice", "")]', "lambda _filer: 1 / 0"))
    with account.terminal(environment={"PYTHONPATH": str(site)}) as terminal:
        terminal.booted().type("greet \t")

        assert terminal.enter("Bob") == "Hello, Bob!\n"
        assert "ZeroDivisionError" not in terminal.seen


UNLOADABLE: list[tuple[str | None, str]] = [
    (None, "No module named"),
    ("import no_such_module\n", "No module named 'no_such_module'"),
    ("this is no Python\n", "SyntaxError"),
    ("raise RuntimeError('first\\nsecond \\x1b[31m')\n", "first\\nsecond \\x1b[31m"),
    ("1 / 0\n", "ZeroDivisionError"),
    ("import sys\nsys.exit('gone')\n", "SystemExit"),
    ("class Odd(BaseException): ...\nraise Odd\n", "Odd"),
    ("COMMAND = 'greet'\n", ""),
    ("COMMANDS = ('greet',)\n", ""),
    ("COMMANDS = 7\n", ""),
    ("\n", ""),
    (PLUGIN.replace("greet", "hostname"), "there is a command hostname already"),
    (PLUGIN.replace("greet [ name ]", "greet [ name"), "is not closed"),
    (PLUGIN.replace("greet [ name ]", "hello [ name ]"), "is that of another command"),
    (PLUGIN.replace("greet [ name ]", "greet [ whom ]"), "missing in the synopsis: name"),
    (PLUGIN.replace(", ROW)", ")"), "has no subcommand"),
    (PLUGIN.replace(", ROW)", ", 'greet')"), "str is not a Subcommand"),
    (PLUGIN.replace("_run, values", "7, values"), "cannot be called"),
    (
        PLUGIN.replace("_run, values", "_run, asks=lambda words: 1 / 0, values"),
        "is not an Answers",
    ),
    (
        PLUGIN.replace("_run, values", "_run, asks=Answers('many'), values"),
        "Answers(number='many', secret=False, option='', unless='') is not an Answers",
    ),
]


def test_a_plug_in_that_cannot_be_loaded_costs_one_warning(account: Account, site: Path) -> None:
    reasons = {}
    for number, (source, reason) in enumerate(UNLOADABLE):
        install(site, f"plug{number}", source)
        reasons[f"plug{number}"] = reason

    ended = run(account, site, "hostname", "nonsense", "?")

    assert ended.out.startswith("filer1\n")
    assert "greet" not in listed(ended.out)
    *warnings, unknown = ended.err.splitlines()
    assert len(warnings) == len(reasons)
    for warning in warnings:
        told = re.match(
            r"WARNING: command plug-in (plug\d+) of \1 1\.0 cannot be loaded: (.*)", warning
        )
        assert told, warning
        assert reasons.pop(told[1]) in told[2]
    assert unknown == "nonsense not found.  Type '?' for a list of commands"
    assert "\x1b" not in ended.err


def test_an_entry_point_to_a_name_that_is_not_there_costs_one_warning(
    account: Account, site: Path
) -> None:
    install(site, "greet", PLUGIN, entry="greet:NO_SUCH_NAME")

    ended = run(account, site, "help greet", "greet", "hostname")

    assert (ended.out, ended.status) == ("filer1\n", 1)
    assert ended.err.startswith("WARNING: command plug-in greet of greet 1.0 cannot be loaded: ")
    assert ended.err.count("WARNING: ") == 1


def test_a_script_of_built_in_commands_looks_for_no_plug_in(account: Account, site: Path) -> None:
    install(site, "greet", "1 / 0\n")

    assert run(account, site, "hostname", "priv set admin") == ("filer1\n", "", 0)


def test_the_other_plug_ins_load_beside_a_broken_one(account: Account, site: Path) -> None:
    install(site, "broken", "1 / 0\n")
    install(site, "greet", PLUGIN)

    ended = run(account, site, "greet")

    assert (ended.out, ended.status) == ("Hello, filer1!\n", 0)
    assert ended.err.count("WARNING: ") == ended.err.count("\n") == 1


EXCEPTIONS = [
    "RuntimeError('a secret')",
    "ValueError('two\\nlines')",
    "AssertionError",
    "OSError(28, 'a secret')",
    "BrokenPipeError(32, 'a secret')",
    "UnicodeDecodeError('utf-8', b'a secret', 0, 1, '')",
    "RecursionError",
    "MemoryError",
    "StopIteration",
    "SystemExit(0)",
    "SystemExit('a secret')",
    "Odd('a secret')",
    "ExceptionGroup('a secret', [ValueError()])",
]


def test_a_plug_in_that_raises_costs_one_line_and_no_traceback(
    account: Account, site: Path
) -> None:
    names = [f"fail{number}" for number in range(len(EXCEPTIONS))]
    for name, exception in zip(names, EXCEPTIONS, strict=True):
        install(site, name, RAISING.replace("fail", name).format(exception=exception))

    ended = run(account, site, *names, "hostname")

    assert (ended.out, ended.status) == ("before\n" * len(names) + "filer1\n", 1)
    assert [line.partition(":")[0] for line in ended.err.splitlines()] == names
    assert "secret" not in ended.err


def test_a_plug_in_that_raises_leaves_the_terminal_at_its_prompt(
    account: Account, site: Path
) -> None:
    install(site, "fail", RAISING.format(exception="RuntimeError('a secret')"))
    with account.terminal(environment={"PYTHONPATH": str(site)}) as terminal:
        said = terminal.booted().enter("fail")

        assert said.startswith("before\nfail: internal error: RuntimeError at ")
        assert said.count("\n") == 2
        assert terminal.enter("hostname") == "filer1\n"


def test_the_answers_of_a_plug_in_that_never_asks_are_skipped(account: Account, site: Path) -> None:
    asking = PLUGIN.replace("_run, values", "_run, asks=Answers(1), values")
    install(site, "greet", asking)

    lines = "greet a b\nnonsense\nhostname\n"
    ended = account.run(input=lines, environment={"PYTHONPATH": str(site)})

    assert ended.out == "filer1\n"
    assert "nonsense" not in ended.err


# The version of the API.


@pytest.mark.parametrize("group", ["filer.commands", "filer.commands.v0", "filer.commands.v2"])
def test_a_plug_in_for_another_version_is_reported_and_not_imported(
    account: Account, site: Path, group: str
) -> None:
    install(site, "greet", "raise SystemExit('imported')", groups=[group])

    ended = run(account, site, "greet", "hostname")

    assert (ended.out, ended.status) == ("filer1\n", 1)
    warning, unknown = ended.err.splitlines()
    assert warning == (
        "WARNING: command plug-in greet of greet 1.0 cannot be loaded: "
        f"it is for another version of the plug-in API, {group}; this filer has {OURS}"
    )
    assert unknown.startswith("greet not found")


def test_a_plug_in_may_be_for_several_versions(account: Account, site: Path) -> None:
    install(site, "greet", PLUGIN, groups=["filer.commands", OURS, "filer.commands.v2"])

    assert run(account, site, "greet") == ("Hello, filer1!\n", "", 0)


def test_a_group_of_another_program_is_ignored(account: Account, site: Path) -> None:
    install(site, "greet", PLUGIN, groups=["filer.commandsv2", "filer"])

    assert "WARNING" not in run(account, site, "greet").err


def test_a_plug_in_of_a_distribution_without_metadata_is_named_all_the_same(
    account: Account, site: Path
) -> None:
    install(site, "greet", "1 / 0\n")
    (site / "greet-1.0.dist-info" / "METADATA").unlink()

    warning = run(account, site, "greet").err.splitlines()[0]

    assert warning.startswith("WARNING: command plug-in greet of ")
    assert "ZeroDivisionError" in warning


@pytest.mark.parametrize("announced", [b"[filer.commands.v1]\ngreet\n", b"[other]\n\xff = 7\n"])
def test_a_distribution_with_damaged_entry_points_costs_one_warning(
    account: Account, site: Path, announced: bytes
) -> None:
    install(site, "broken", "")
    install(site, "greet", PLUGIN)
    (site / "broken-1.0.dist-info" / "entry_points.txt").write_bytes(announced)

    ended = run(account, site, "greet", "hostname")

    assert (ended.out, ended.status) == ("Hello, filer1!\nfiler1\n", 0)
    assert ended.err.startswith("WARNING: command plug-ins of broken 1.0 cannot be listed: ")
    assert ended.err.count("\n") == 1


def test_of_two_distributions_of_one_name_the_first_one_counts(
    account: Account, site: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    install(site, "greet", PLUGIN)
    install(other, "greet", "1 / 0\n")

    ended = account.commands("greet", environment={"PYTHONPATH": f"{site}:{other}"})

    assert ended == ("Hello, filer1!\n", "", 0)


# Its manual page.


PAGE = """.TH GREET 1 2026-01-01 greet "Filer Manual"
.SH NAME
greet \\- greet a user politely
.SH DESCRIPTION
{text}
"""


def install_with_page(site: Path, text: str) -> None:
    install(site, "greet", None, entry="greet")
    package = site / "greet"
    package.mkdir()
    (package / "__init__.py").write_text(PLUGIN.replace(", ROW)", ', ROW, manual="greet")'))
    (package / "greet.1").write_text(PAGE.format(text=text))


def test_man_shows_the_page_of_a_plug_in(account: Account, site: Path) -> None:
    install_with_page(site, "Say hello.")

    ended = run(account, site, "man greet")

    assert (ended.err, ended.status) == ("", 0)
    assert "greet - greet a user politely" in ended.out
    with editing(account, environment={"PYTHONPATH": str(site)}) as terminal:
        terminal.booted().type("man gree\t")
        terminal.shows("t")


@pytest.mark.parametrize("text", ["\x1b[31mred", ".UNKNOWN", "\\n(x"])
def test_a_page_that_cannot_be_set_costs_one_line(account: Account, site: Path, text: str) -> None:
    install_with_page(site, text)

    ended = run(account, site, "man greet", "hostname")

    assert (ended.out, ended.status) == ("filer1\n", 1)
    assert ended.err.startswith("man: manual page, line ")
    assert ended.err.count("\n") == 1
    assert "\x1b" not in ended.err


@pytest.mark.parametrize("package", ["greet", "no_such_package", "os"])
def test_a_plug_in_without_the_page_that_it_names_is_reported(
    account: Account, site: Path, package: str
) -> None:
    install(site, "greet", PLUGIN.replace(", ROW)", f', ROW, manual="{package}")'))

    ended = run(account, site, "greet", "man key_manager")

    assert ended.err.startswith("WARNING: command plug-in greet of greet 1.0 cannot be loaded: ")
    assert ended.out.startswith("NA_KEY_MANAGER(1)")


# FILER_DEBUG shows where a defect is, without values.


SECRETIVE = """
from filer.commands import Command, Subcommand


class Holder:
    def __init__(self, secret):
        self.secret = secret

    def __repr__(self):
        return self.secret


def ask(secret):
    holder = Holder(secret)
    try:
        exec(f"1 / 0 # {secret}")
    except ZeroDivisionError as problem:
        problem.add_note(secret)
        raise KeyError(holder, "Text-of-an-exception-1") from problem


def _run(call):
    secret = call.console.ask_secret("Passphrase: ")
    try:
        ask(secret)
    except KeyError:
        raise ExceptionGroup(secret, [RuntimeError(secret), SyntaxError(secret)])


COMMAND = Command("fail", "fail", Subcommand("fail", _run))
"""

DEBUG = {"FILER_DEBUG": "1"}


def test_a_traceback_has_the_calls_and_no_secret(account: Account, site: Path) -> None:
    install(site, "fail", SECRETIVE)
    environment = {"PYTHONPATH": str(site), **DEBUG}

    ended = account.run(input=f"fail\n{PASSPHRASE}\nhostname\n", environment=environment)

    assert ended.out == "Passphrase: \nfiler1\n"
    assert PASSPHRASE not in ended.err
    assert "Text-of-an-exception-1" not in ended.err
    lines = ended.err.splitlines()
    assert lines[0].startswith("fail: internal error: ExceptionGroup at site/fail.py:")
    assert [line for line in lines if line.endswith(":") and line.startswith("  ")] == [
        "  RuntimeError:",
        "  SyntaxError:",
        "  ZeroDivisionError:",
        "  KeyError:",
        "  ExceptionGroup:",
    ]
    assert f"    {site}/fail.py:16 in ask" in lines
    messages = account.commands("rdfile /etc/messages").out
    assert "ExceptionGroup at site/fail.py:" in messages
    assert PASSPHRASE not in messages


@pytest.mark.parametrize("setting", ["", "0", "yes"])
def test_without_the_setting_there_is_no_traceback(
    account: Account, site: Path, setting: str
) -> None:
    install(site, "fail", SECRETIVE)
    environment = {"PYTHONPATH": str(site), "FILER_DEBUG": setting}

    ended = account.run(input=f"fail\n{PASSPHRASE}\n", environment=environment)

    assert ended.err.count("\n") == 1


def test_a_plug_in_that_cannot_be_loaded_has_a_traceback(account: Account, site: Path) -> None:
    install(site, "greet", "def load():\n    1 / 0\n\n\nload()\n")

    ended = account.commands("greet", environment={"PYTHONPATH": str(site), **DEBUG})

    lines = ended.err.splitlines()
    assert lines[0].startswith("WARNING: command plug-in greet of greet 1.0 cannot be loaded: ")
    assert lines[1] == "  ZeroDivisionError:"
    assert lines[-3:-1] == [f"    {site}/greet.py:5 in <module>", f"    {site}/greet.py:2 in load"]
    assert not any("importlib._bootstrap" in line for line in lines)


def test_json_has_the_traceback_in_the_message(account: Account, site: Path) -> None:
    install(site, "fail", RAISING.format(exception="RuntimeError('a secret')"))

    ended = account.run(
        *("--format", "json", "-c", "fail"), environment={"PYTHONPATH": str(site), **DEBUG}
    )

    (error,) = json.loads(ended.out.splitlines()[1])["errors"]
    assert error["kind"] == "internal"
    assert f"\n    {site}/fail.py:11 in _run" in error["message"]
    assert "secret" not in ended.out


def test_a_long_or_circular_chain_of_exceptions_is_cut_short() -> None:
    def fail(depth: int) -> None:
        if depth:
            fail(depth - 1)
        raise ValueError

    first = second = ValueError()
    for _ in range(1000):
        first.__context__ = ValueError()
        first = first.__context__
    first.__context__ = second
    with pytest.raises(ValueError) as deep:  # noqa: PT011  (it has no text)
        fail(200)
    assert len(list(traceback_of(deep.value, DEBUG))) == 51
    assert len(list(traceback_of(second, DEBUG))) == 10
