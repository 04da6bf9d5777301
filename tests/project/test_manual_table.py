"""The table in MANUAL.md: each row names tests that exist and run, or is marked as open."""

import ast
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.kit.paths import CHECKOUT, TESTS

OPEN = "open"

_ROW = re.compile(r"\| ([0-9]+) \| (\S.*\S) \| (\S.*\S) \|")
_FRAME = re.compile(r"\| (No\.|---) \| .* \|")
_TEST = re.compile(r"`(test_[a-z0-9_]+\.py::test_[a-z0-9_]+)`")
_NEVER_RUN = {"skip", "skipif", "xfail", "importorskip", "SkipTest", "skipUnless", "skipIf"}


class Row(NamedTuple):
    number: int
    statement: str
    shown_by: str

    @property
    def tests(self) -> list[str]:
        return _TEST.findall(self.shown_by)


@cache
def rows() -> list[Row]:
    """Return the rows of all tables. Fails for a table line with another format."""
    found = []
    for line in (TESTS / "MANUAL.md").read_text(encoding="utf-8").splitlines():
        if not line.startswith("|") or _FRAME.fullmatch(line):
            continue
        row = _ROW.fullmatch(line)
        assert row is not None, line
        found.append(Row(int(row[1]), row[2], row[3]))
    return found


def modules() -> list[str]:
    """Return the files that the table names."""
    return sorted({test.split("::", 1)[0] for row in rows() for test in row.tests})


@cache
def tree(module: str) -> ast.Module:
    """Return the syntax tree of a file in any folder of the tests."""
    (path,) = [*TESTS.glob(module)] or TESTS.rglob(module)
    return ast.parse(path.read_text(encoding="utf-8"))


def functions_of(module: str) -> list[str]:
    """Return the names of the test functions of a file, in order."""
    functions = (node for node in tree(module).body if isinstance(node, ast.FunctionDef))
    return [node.name for node in functions if node.name.startswith("test_")]


def test_the_rows_are_numbered_without_a_gap() -> None:
    assert [row.number for row in rows()] == list(range(1, len(rows()) + 1))
    assert len(rows()) > 100


def test_no_statement_stands_twice_in_a_section() -> None:
    sections = (TESTS / "MANUAL.md").read_text(encoding="utf-8").split("\n## ")
    assert len(sections) > 10
    for section in sections:
        found = [row[2] for line in section.splitlines() if (row := _ROW.fullmatch(line))]
        assert len(set(found)) == len(found)


def test_every_row_names_tests_or_is_open() -> None:
    for row in rows():
        named = ", ".join(f"`{test}`" for test in row.tests)
        assert row.shown_by == (named or OPEN), row


def test_no_row_names_a_test_twice() -> None:
    for row in rows():
        assert len(set(row.tests)) == len(row.tests), row


def test_no_file_defines_a_test_twice() -> None:
    for module in modules():
        assert max(Counter(functions_of(module)).values()) == 1, module


def test_every_named_test_exists() -> None:
    for row in rows():
        for test in row.tests:
            module, _, function = test.partition("::")
            assert function in functions_of(module), test


def test_every_named_test_is_collected_by_an_ordinary_run(request: pytest.FixtureRequest) -> None:
    named = {test for row in rows() for test in row.tests}
    here = {item.nodeid.partition("[")[0].rpartition("/")[2] for item in request.session.items}
    assert named <= here or named <= collected()  # a run of a few files collects only those


def collected() -> set[str]:
    """Return the tests that a run of the folders with the named files collects."""
    folders = {path.parent for module in modules() for path in TESTS.rglob(module)}
    options = ("--collect-only", "-q", "-n", "0", "-p", "no:cacheprovider")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *folders],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return {
        line.partition("[")[0].rpartition("/")[2]
        for line in run.stdout.splitlines()
        if "::" in line
    }


def test_no_named_test_can_be_left_out_of_a_run() -> None:
    # Nothing in these files, or in the modules they share, may skip a test or expect a failure; so
    # every collected test runs.
    for module in (*modules(), "manual.py", "house.py", "pairs.py", "conftest.py"):
        names = {
            node.attr if isinstance(node, ast.Attribute) else node.id
            for node in ast.walk(tree(module))
            if isinstance(node, ast.Attribute | ast.Name)
        }
        assert not names & _NEVER_RUN, module


def test_every_test_of_the_manual_stands_in_the_table() -> None:
    named = {test for row in rows() for test in row.tests}
    for path in sorted(TESTS.rglob("test_manual_*.py")):
        if path.name != Path(__file__).name:
            assert {f"{path.name}::{test}" for test in functions_of(path.name)} <= named
