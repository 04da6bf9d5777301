"""The benchmark runs, and its README describes every row; no test checks a time."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import ROWS
from bench.row import Figure, Limit, Row, Unit, at_most, below, faster, table
from bench.workshop import EARLIER, Workshop, against_earlier
from tests.kit.paths import CHECKOUT


def test_rows_are_those_of_the_readme() -> None:
    text = (CHECKOUT / "bench" / "README.md").read_text(encoding="utf-8")

    assert re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE) == list(ROWS)
    assert re.findall(r"^\*\*([a-z-]+)\.\*\*", text, re.MULTILINE) == list(ROWS)


def test_results_have_a_line_for_each_kind_of_row() -> None:
    text = (CHECKOUT / "bench" / "RESULTS.md").read_text(encoding="utf-8")

    assert text.count("\n| ") > len(ROWS)
    assert "failed:" not in text


def test_cheap_rows_run_end_to_end(tmp_path: Path) -> None:
    results = tmp_path / "results.md"
    command = [sys.executable, "-m", "bench", "--quick", "man", "rekey"]
    ended = subprocess.run(
        [*command, "--results", str(results)],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        timeout=120,
        check=True,
    )

    assert results.read_text(encoding="utf-8").endswith(ended.stdout)
    lines = [line.split(" | ")[0] for line in ended.stdout.splitlines()[2:]]
    assert [line.strip("| ") for line in lines] == [
        "`man key_manager`",
        "`man key_manager`, in colours",
        "rekey of 4 disks, a disk",
        "rekey of 12 disks, a disk",
        "memory for a rekey of 12 disks",
    ]
    assert "failed" not in ended.stdout


def test_peer_that_is_not_installed_is_a_limit_that_is_not_reached(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--peers", str(tmp_path), "first-prompt"]
    ended = subprocess.run(
        command, capture_output=True, text=True, cwd=CHECKOUT, timeout=120, check=True
    )

    for peer in "litecli", "cmd2", "xonsh":
        (line,) = (line for line in ended.stdout.splitlines() if peer in line)
        assert f"{peer}: not installed" in line
        assert "**NO**" in line


@pytest.mark.parametrize(
    ("ours", "theirs", "limit", "ratio", "met"),
    [
        (3.0, 2.0, at_most(1.5), 1.5, True),
        (3.1, 2.0, at_most(1.5), 1.55, False),
        (2.0, 3.0, faster(1.5), 1.5, True),
        (2.0, 2.9, faster(1.5), 1.45, False),
        (3.0, None, at_most(1.5), None, False),
        (4.0, None, below(5.0), 0.8, True),
        (6.0, None, below(5.0), 1.2, False),
    ],
)
def test_limits(
    ours: float, theirs: float | None, limit: Limit, ratio: float | None, met: bool
) -> None:
    row = Row("what", Figure(ours), limit, None if theirs is None else Figure(theirs), "peer")

    assert row.ratio == pytest.approx(ratio)
    assert row.met == met


def test_figure_is_a_median_with_its_spread() -> None:
    assert str(Figure.of([0.001, 0.002, 0.003])) == "2 ms ±50%"
    assert str(Figure.of([12_000.0], Unit.MEGABYTES)) == "12,000 MB"


def test_a_ratio_is_that_of_most_rounds_however_slow_the_machine_was_in_each() -> None:
    ours, theirs = Figure.of([2.0, 4.0, 9.0]), Figure.of([1.0, 2.0, 3.0])

    assert Row("what", ours, at_most(2), theirs, "peer").ratio == 2
    assert Row("what", ours, faster(), theirs, "peer").ratio == 0.5
    assert Row("what", ours, at_most(2), Figure(1.0), "peer").ratio == 4


def test_the_earlier_commit_runs_its_own_code(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, tmp_path)
    if shop.earlier is None:
        pytest.skip("this checkout has no git history")
    account = shop.account(code=shop.earlier)

    program = [sys.executable, "-P", "-c", "import filer; print(filer.__file__)"]
    ended = subprocess.run(
        program, env=account.environment, capture_output=True, text=True, check=True
    )

    assert shop.earlier.directory
    assert Path(ended.stdout.strip()).is_relative_to(shop.earlier.directory)


def test_a_checkout_without_history_skips_what_compares_with_the_earlier_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nothing"))
    shop = Workshop(tmp_path, tmp_path)

    assert shop.earlier is None
    assert len(shop.versions()) == 1
    row = against_earlier("lines", Figure(1.0), faster(1.5))
    assert f"commit {EARLIER[:8]}: no git history" in row.cells()
    assert row.cells()[-1] == "skipped"


def test_row_that_failed_is_in_the_table() -> None:
    assert "**NO**" in table([Row("man", None, None, against="failed: OSError")])
