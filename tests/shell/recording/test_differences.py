"""Diffs of outputs: small ones match difflib, large ones take no longer per line."""

import difflib
from collections.abc import Callable, Sequence
from difflib import unified_diff
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.shell.recording import differences, volatile
from filer.shell.recording.asciicast import Kind, event, header
from filer.shell.recording.differences import LineMatcher, unified
from filer.shell.recording.volatile import Pairing
from tests.kit.console import Account, prepare
from tests.kit.steps import steps_of

Lines = list[str]


@st.composite
def outputs(draw: st.DrawFn, most: int) -> tuple[Lines, Lines]:
    """Draw an output, and a copy with removed and inserted lines."""
    line = st.sampled_from("abcdef")
    before = draw(st.lists(line, max_size=most))
    after = list(before)
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, len(after)))
        after[at : at + draw(st.integers(0, 2))] = draw(st.lists(line, max_size=2))
    return before, after


@given(outputs(40))
def test_a_small_diff_is_that_of_difflib(lines: tuple[Lines, Lines]) -> None:
    before, after = lines

    diff = list(unified(before, after, ("then", "now")))

    assert diff == list(unified_diff(before, after, "then", "now", lineterm=""))


def rebuilt(before: Sequence[str], after: Sequence[str]) -> Lines:
    """Rebuild ``after`` from the opcodes; the changed parts are looked up."""
    made: Lines = []
    for tag, one, one_end, other, other_end in LineMatcher(before, after).get_opcodes():
        assert len(made) == other
        made += before[one:one_end] if tag == "equal" else after[other:other_end]
    return made


@given(outputs(300))
def test_a_large_diff_tells_every_change_and_no_other(lines: tuple[Lines, Lines]) -> None:
    before, after = lines
    # Long enough for the fast algorithm, without common lines at both ends.
    before, after = [*map(str, range(100)), *before], [*map(str, range(100, 201)), *after]

    assert rebuilt(before, after) == after
    assert rebuilt(after, before) == before
    assert list(unified(before, before, ("then", "now"))) == []


def test_one_new_line_among_thousands_is_one_difference() -> None:
    before = [f"line {number % 7}" for number in range(5000)]
    after = [*before[:2000], "new", *before[2000:]]

    diff = list(unified(before, after, ("then", "now")))

    assert [line for line in diff if line.startswith("+")] == ["+++ now", "+new"]
    assert [line for line in diff if line.startswith("-")] == ["--- then"]


def test_lines_between_differences_are_paired() -> None:
    before = [f"line {number}" for number in range(5000)]
    after = ["first", *before[:1000], "changed", *before[1001:4000], *before[4001:], "last"]

    diff = list(unified(before, after, ("then", "now")))

    assert {line for line in diff if line[0] in "+-"} == {
        *("--- then", "+++ now"),
        *("+first", "+changed", "+last", "-line 1000", "-line 4000"),
    }


def logged(number: int, text: str) -> str:
    return f"Tue Nov 24 10:{number // 60 % 60:02}:{number % 60:02} UTC [filer1:logger:info]: {text}"


KEY_ID = "5DD026075DD026670101000000000000"

ADVERSARIAL: dict[str, Callable[[int], tuple[Lines, Lines]]] = {
    "similar lines": lambda n: (
        [logged(at, "same") for at in range(n)],
        [logged(at, "same") for at in range(3, n + 5)],
    ),
    "similar lines between others": lambda n: (
        ["a", *[logged(at, "same") for at in range(n)], "b"],
        ["c", *[logged(at, "same") for at in range(n)], "d"],
    ),
    "two lines in turn": lambda n: (["a", "b"] * (n // 2), ["b", "c", "a"] * (n // 3)),
    "two lines at random": lambda n: (Random(1).choices("ab", k=n), Random(2).choices("ab", k=n)),
    "nothing in common": lambda n: ([f"a{at}" for at in range(n)], [f"b{at}" for at in range(n)]),
    "the other way round": lambda n: (
        [str(at) for at in range(n)],
        [str(at) for at in range(n, 0, -1)],
    ),
    "key IDs": lambda n: (
        [f"filer1  {KEY_ID}{at:032X}" for at in range(n)],
        ["new", *(f"filer1  {KEY_ID}{at * 7919:032X}" for at in range(n))],
    ),
}


@pytest.mark.parametrize("kind", ADVERSARIAL)
def test_the_work_grows_with_the_number_of_lines_alone(kind: str) -> None:
    def compare(number: int) -> int:
        then, now = ("\n".join(lines) for lines in ADVERSARIAL[kind](number))
        return steps_of(
            lambda: list(unified(*Pairing().lines(then, now), ("then", "now"))),
            *(differences, volatile, difflib),
        )

    few, many = compare(500), compare(2000)

    assert many < 6 * few
    assert many < 2000 * 400


def recording(path: Path, *commands: str, said: Sequence[str]) -> Path:
    """Write the recording that ``--record`` would make of a script with these outputs."""
    events = [event(0.0, Kind.MARKER, "session: script")]
    for command in commands:
        events += [
            event(0.1, Kind.MARKER, f"filer1> {command}"),
            event(0.1, Kind.INPUT, f"{command}\r"),
            *(event(0.2, Kind.OUTPUT, f"{line}\r\n") for line in said),
        ]
    path.write_text(header(80, 24, 1_790_000_000, {}) + "".join(events), encoding="utf-8")
    return path


def test_a_log_of_many_similar_lines_is_replayed(account: Account) -> None:
    then = [logged(number, "again") for number in range(8_000)]
    now = [logged(number, "again") for number in range(4_000)]
    now += ["not again", *[logged(number, "again") for number in range(4_001)]]
    prepare(account, [])
    kept = account.root / "mroot" / "etc"
    (kept / "old").write_text("".join(f"{line}\n" for line in now), encoding="utf-8")
    cast = recording(account.home / "a.cast", "rdfile /etc/old", said=then)

    ended = account.run("--replay", cast)

    assert (ended.err, ended.status) == ("", 1)
    assert ended.out.count("\n+") == 3
    assert "\n+not again\n" in ended.out


def test_a_long_line_and_many_commands_are_replayed(account: Account) -> None:
    cast = recording(account.home / "a.cast", *["hostname"] * 1000, said=["filer1"])
    assert account.run("--replay", cast) == ("", "", 0)

    line = "A1 " * 100_000 + "7" * 100_000
    kept = account.root / "mroot" / "etc"
    (kept / "old").write_text(line + "\n", encoding="utf-8")
    cast = recording(account.home / "b.cast", "rdfile /etc/old", said=[line])
    assert account.run("--replay", cast) == ("", "", 0)
