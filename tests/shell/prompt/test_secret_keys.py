"""No key and no pair of keys makes the editor show a secret."""

import re
from contextlib import suppress
from io import StringIO
from string import ascii_lowercase

import pytest
from prompt_toolkit.application import get_app_or_none
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output.vt100 import Vt100_Output

from filer.running.interrupt import Interrupt
from filer.shell.prompt.editor import LineEditor
from filer.shell.prompt.history import SessionHistory
from filer.shell.signals import Signals
from tests.kit import manual
from tests.kit.house import House

build, house = manual.build, manual.house

LONG_ENOUGH_TO_DRAW = 0.01  # seconds; a shorter time would make the test miss output
SECRET = "Zanzibar+5?xQ"
ENDS = "\x03\x04\n\r"
CONTROLS = [chr(code) for code in range(32) if chr(code) not in ENDS] + ["\x7f"]
ESCAPED = [f"\x1b{chr(code)}" for code in range(1, 128) if chr(code) not in ENDS + "\x1b[O"]
PREFIXED = [f"\x18{key}" for key in (*CONTROLS, *ascii_lowercase, "(", ")")]
FUNCTIONS = [
    *(f"\x1b[{number}~" for number in range(1, 35)),
    *(f"\x1b[{letter}" for letter in "ABCDEFGHIPQRSZ"),
    *(f"\x1b[1;{modifier}{letter}" for modifier in (2, 3, 5) for letter in "ABCDFH"),
    *(f"\x1bO{letter}" for letter in "ABCDFHPQRS"),
]


class Screen(StringIO):
    """Presses Ctrl-G and Ctrl-C after the typed text has been drawn."""

    def __init__(self, keyboard: PipeInput) -> None:
        super().__init__()
        self._keyboard = keyboard
        self.ends = 0

    def flush(self) -> None:
        app = get_app_or_none()
        if app is not None and app.loop is not None and not self.ends:
            self.ends += 1
            app.loop.call_later(LONG_ENOUGH_TO_DRAW, self._keyboard.send_text, "\x07\x03")


@pytest.mark.parametrize(
    "keys",
    [CONTROLS, ESCAPED, PREFIXED, FUNCTIONS],
    ids=["control", "escape", "control-x", "function"],
)
def test_no_key_shows_what_is_typed_behind_it(keys: list[str], house: House) -> None:
    with create_pipe_input() as keyboard:
        written = Screen(keyboard)
        screen = Vt100_Output(written, lambda: Size(24, 80), term="xterm")
        editor = LineEditor(
            house.session,
            Signals(Interrupt()),
            history=SessionHistory(),
            keyboard=keyboard,
            screen=screen,
        )
        for key in keys:
            keyboard.send_text(key + SECRET)
            with suppress(KeyboardInterrupt, EOFError):
                while editor.secret("Passphrase: "):  # a few keys end the line like Enter
                    pass
            shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.getvalue())
            assert "Passphrase:" in shown
            assert not [part for part in ("anz", "zib", "bar") if part in shown], repr(key)
            written.seek(0)
            written.truncate()
            written.ends = 0
