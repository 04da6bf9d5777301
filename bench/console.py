"""Rows for the console: lines from a pipe, completion, manual pages."""

from collections.abc import Callable, Iterator
from functools import partial
from io import StringIO
from time import perf_counter

from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application, create_app_session
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output.vt100 import Vt100_Output

from bench.measuring import BARE_PYTHON, Side, interleave, process_seconds, seconds
from bench.row import Figure, Row, at_most, faster
from bench.workshop import TAGS, Booted, Code, Workshop, against_earlier, new_pairs
from filer.keys.keytable import merge
from filer.registration.registration import Registration
from filer.running.interrupt import Interrupt
from filer.shell.line.completion import completions
from filer.shell.manual.pages import find
from filer.shell.manual.text import ManualText
from filer.shell.prompt.appearance import coloured
from filer.shell.prompt.editor import LineEditor
from filer.shell.signals import Signals

_LINE = "key_manager show"
_ADDRESSES = ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4")
_BEFORE_TAB = (
    "k",
    "key_manager status -key_server ",
    "key_manager restore -all -key_tag ",
    "disk encrypt rekey ",
    "disk encrypt show 0c.",
)


def lines(shop: Workshop) -> Iterator[Row]:
    """Measure lines from a pipe, including boot and halt."""
    number = 100 if shop.quick else 10_000
    script = shop.new("script") / "lines"
    script.write_text(f"{_LINE}\n" * number)

    def run_by(code: Code) -> Side:
        account = shop.account(code=code)
        return partial(process_seconds, account.filer(), account.environment, script)

    ours, *earlier = interleave(shop.times(5), *map(run_by, shop.versions()))
    yield against_earlier(f"{number:,} lines of `{_LINE}`", ours, faster(1.5), *earlier)


def man(shop: Workshop) -> Iterator[Row]:
    """Measure a manual page, in plain text and in colours."""
    page = find("key_manager")
    assert page

    def in_colours() -> None:
        coloured(ManualText(page.source, 80, booted.session.commands), "dark", "xterm-256color")

    with shop.account().booted() as booted:
        plain, colours, bare = interleave(
            shop.times(30),
            partial(seconds, partial(booted.execute, "man key_manager")),
            partial(seconds, in_colours),
            partial(process_seconds, BARE_PYTHON, shop.account().environment),
        )
    for what, taken in (("`man key_manager`", plain), ("`man key_manager`, in colours", colours)):
        yield Row(what, taken, at_most(0.6), bare, "`python -c pass`")


def completion(shop: Workshop) -> Iterator[Row]:
    """Measure Tab, from the key press to the menu on the screen, for the slowest of five lines."""
    disks = 12 if shop.quick else 1440
    with shop.account(f'[shelf]\ndisks = {disks}\ndisk_size = "1 MiB"\n').booted() as booted:
        booted.filer.keytable.replace(merge(new_pairs(TAGS)).values())
        booted.filer.registration = Registration(servers=_ADDRESSES, port=5696)
        ours, bare = max(
            (_menus(booted, line, shop.times(30)) for line in _BEFORE_TAB),
            key=lambda figures: figures[0].value,
        )
    what = f"key to menu, 4 servers, {TAGS} tags, {disks} disks"
    yield Row(what, ours, at_most(0.7), bare, "bare prompt_toolkit, same words")


def _menus(booted: Booted, line: str, times: int) -> list[Figure]:
    """Measure Tab after ``line``, in the console's line editor and at a bare prompt."""
    words = {each.text: each.help for each in completions(booted.session, line)}
    with create_pipe_input() as keys:
        screen = Vt100_Output(StringIO(), lambda: Size(24, 80), term="xterm")
        with create_app_session(input=keys, output=screen):
            editor = LineEditor(booted.session, Signals(Interrupt()))
            bare: PromptSession[str] = PromptSession(
                completer=WordCompleter([*words], meta_dict=words, WORD=True),
                complete_while_typing=False,
            )
            return interleave(
                times,
                partial(_press, keys, line, editor._commands.app, partial(editor.line, "> ")),
                partial(_press, keys, line, bare.app, partial(bare.prompt, "> ")),
            )


def _press(keys: PipeInput, line: str, app: Application[str], read: Callable[[], object]) -> float:
    begun = taken = 0.0

    def rendered(_app: object) -> None:
        nonlocal begun, taken
        state = app.current_buffer.complete_state
        if app.is_done:
            return
        if begun and state is not None and state.completions:
            taken = perf_counter() - begun
            app.exit(result="")
        elif not begun and app.current_buffer.text == line:
            begun = perf_counter()
            keys.send_text("\t")

    app.after_render += rendered
    keys.send_text(line)
    read()
    app.after_render -= rendered
    return taken
