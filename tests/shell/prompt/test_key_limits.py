"""No key of the editor costs more than a line has room for, and an end waits for one key only."""

import signal
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO

import pytest
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output.vt100 import Vt100_Output

from filer.running.interrupt import Interrupt
from filer.shell.line.length import LONGEST, LineTooLong
from filer.shell.prompt.editor import LineEditor
from filer.shell.prompt.history import SessionHistory
from filer.shell.prompt.key_limits import MOST_REPEATS
from filer.shell.prompt.settings import Settings
from filer.shell.signals import Ended, Signals
from tests.kit import manual
from tests.kit.house import House

build, house = manual.build, manual.house

ESCAPE, ENTER, CUT, YANK, BACKSPACE = "\x1b", "\r", "\x15", "\x19", "\x7f"
NINES = f"{ESCAPE}9" * 6
LONG = LONGEST - 5000


def pasted(text: str) -> str:
    return f"\x1b[200~{text}\x1b[201~"


@contextmanager
def typing(
    house: House,
    editing: str = "emacs",
    signals: Signals | None = None,
    typed: Callable[[str], object] | None = None,
) -> Iterator[tuple[LineEditor, PipeInput]]:
    """Yield an editor and its keyboard; ``typed`` is told each text of the line."""
    with create_pipe_input() as keyboard:
        yield (
            LineEditor(
                house.session,
                signals or Signals(Interrupt()),
                settings=Settings(editing=editing, menu=False, toolbar=False),
                history=SessionHistory(),
                keyboard=keyboard,
                screen=Vt100_Output(StringIO(), lambda: Size(24, 80), term="dumb"),
                typed=typed,
            ),
            keyboard,
        )


def line_after(house: House, *keys: str, editing: str = "emacs") -> str:
    """Return the line that ``keys`` and Enter make."""
    with typing(house, editing) as (editor, keyboard):
        for text in (*keys, ENTER):
            keyboard.send_text(text)
        return editor.line("> ")


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (f"{NINES}x", "x" * MOST_REPEATS),
        (f"{ESCAPE}9" * 4400 + "x", "x" * MOST_REPEATS),  # int() takes 4,300 digits
        (f"abcd{ESCAPE}-{ESCAPE}2x", "abcd"),
        (f"{ESCAPE}3x", "xxx"),
    ],
    ids=["large", "endless", "negative", "small"],
)
def test_a_numeric_argument_is_bounded(keys: str, line: str, house: House) -> None:
    assert line_after(house, keys) == line


@pytest.mark.parametrize("read", ["line", "answer", "secret"])
def test_so_it_is_at_every_question(read: str, house: House) -> None:
    with typing(house) as (editor, keyboard):
        keyboard.send_text(f"{NINES}x{ENTER}")
        text = getattr(editor, read)("> ")

    assert text == "x" * MOST_REPEATS


def test_what_was_cut_is_repeated_as_often_as_a_line_has_room_for_it(house: House) -> None:
    assert line_after(house, pasted("x" * LONG), CUT, NINES, YANK) == "x" * LONG
    third = LONGEST // 3
    assert line_after(house, pasted("x" * third), CUT, NINES, YANK) == "x" * third * 3


def test_so_is_what_a_vi_register_has(house: House) -> None:
    keys = (pasted("x" * LONG), ESCAPE, 'v0"ay', "0xyl", "Diy", ESCAPE, '999"aP')

    assert len(line_after(house, *keys, editing="vi")) == LONG + 1


def test_the_arguments_of_an_operator_and_its_motion_are_bounded_together(house: House) -> None:
    lines = "\x11\n".join("x" * 10)  # quoted line ends
    keys = (lines, "\x1bOS", ESCAPE, "gg", "99>99j")

    assert len(line_after(house, *keys)) <= LONGEST


@pytest.mark.parametrize(
    ("editing", "keys", "line"),
    [
        ("emacs", "\x18(a\x18)\x18e", "a"),
        ("emacs", "\x18(a\x18(\x18e\x18e\x18)", "a"),
        ("vi", f"abc{ESCAPE}qaxq@a", "ab"),
    ],
)
def test_there_are_no_keyboard_macros(editing: str, keys: str, line: str, house: House) -> None:
    assert line_after(house, keys, ESCAPE, editing=editing) == line


@pytest.mark.parametrize("keys", ["abcdefgh", pasted("a\nb\nc"), f"{ESCAPE}3a" * 20])
def test_a_signal_takes_effect_between_two_keys(keys: str, house: House) -> None:
    signals = Signals(Interrupt())
    texts: list[str] = []

    def typed(text: str) -> None:
        texts.append(text)
        signals.deliver(signal.SIGTERM)

    with typing(house, signals=signals, typed=typed) as (editor, keyboard):
        keyboard.send_text(keys)
        with pytest.raises(Ended):
            editor.line("> ")

    assert len(texts) == 1


def test_the_search_field_is_as_bounded_as_the_line(house: House) -> None:
    longest = 0

    def typed(text: str) -> None:
        nonlocal longest
        longest = max(longest, len(text))

    with typing(house, typed=typed) as (editor, keyboard):
        for text in (pasted("x" * LONG), CUT, "\x12", YANK, YANK, YANK, "\x07", ENTER):
            keyboard.send_text(text)
        editor.line("> ")

    assert LONG < longest <= LONGEST + 1


def test_undo_keeps_few_copies_of_a_long_line(house: House) -> None:
    kept: list[int] = []
    keys = [pasted("x" * LONG), *["a" + BACKSPACE] * 100, ENTER]

    with typing(house, typed=lambda _: kept.append(tracemalloc.get_traced_memory()[0])) as (
        editor,
        keyboard,
    ):
        tracemalloc.start()
        try:
            for text in keys:
                keyboard.send_text(text)
            editor.line("> ")
        finally:
            tracemalloc.stop()

    assert len(kept) > 200
    assert kept[-1] - kept[1] < 40 * LONG


def test_the_lines_of_the_history_cannot_all_be_made_long(house: House) -> None:
    with typing(house) as (editor, keyboard):
        for number in range(30):
            keyboard.send_text(f"hostname {number}{ENTER}")
            editor.line("> ")
        keyboard.send_text(f"{pasted('x' * LONG)}{CUT}")
        keyboard.send_text(f"\x10{YANK}\x01" * 5 + ENTER)
        assert editor.line("> ") == "hostname 25" + "x" * LONG
        keyboard.send_text(f"\x10{YANK}\x01" * 25 + ENTER)
        with pytest.raises(LineTooLong):
            editor.line("> ")


def test_undo_still_goes_back(house: House) -> None:
    assert line_after(house, f"abc{CUT}\x1f") == "abc"
