"""Count the lines after a command that are answers to its questions (`Answers`)."""

from collections.abc import Mapping, Sequence

from filer.commands import ALL_ANSWERS, Answers, Command, Subcommand
from filer.host.text import nearest
from filer.shell.line.length import LONGEST
from filer.shell.line.synopsis import head
from filer.shell.line.words import LanguageError, split

_CLOSE = 0.6
"""The least difflib ratio of a misspelt word."""

_VERY_CLOSE = 0.8
"""The same for a command that does not ask, so that fewer lines after it are skipped in error."""


def expected_answers(commands: Mapping[str, Command], line: str) -> int:
    """Return how many lines of answers may follow ``line``, or ALL_ANSWERS.

    An unknown command may be any misspelt one, so the largest count is returned.  For several
    dialogues in one line it is ALL_ANSWERS, since it is unknown how many lines each has read.
    """
    if len(line) > LONGEST:  # only its beginning was read
        return ALL_ANSWERS
    counts = [count for words in _words(line) if (count := _answers_to(commands, words))]
    return sum(counts) if len(counts) <= 1 else ALL_ANSWERS


def stray_answers(commands: Mapping[str, Command], line: str) -> int:
    """Return how many lines after ``line`` may be answers that it does not ask for.

    The option that makes its command ask for a secret may be missing (``key_manager rekey``), or
    the command may be another one (``disk encrypt rekey``).  The lines after it may be commands.
    """
    words = {word for words in _words(line) for word in words}
    return max(
        (
            subcommand.asks.number
            for command in commands.values()
            for subcommand in command.subcommands
            if subcommand.asks
            and _has_secret_option(subcommand.asks)
            and nearest(head(subcommand.usage[0], subcommand.values)[-1], words, _VERY_CLOSE)
        ),
        default=0,
    )


def may_be_command(commands: Mapping[str, Command], line: str) -> bool:
    """Say whether ``line`` begins with the name of a command, misspelt or not."""
    first, *_ = line.split() or [""]
    return nearest(first, commands) is not None


def _words(line: str) -> Sequence[Sequence[str]]:
    try:
        return split(line)
    except LanguageError:
        return [line.split()]


def may_ask(commands: Mapping[str, Command], line: str) -> bool:
    """Say whether a command of ``line``, misspelt or not, may ask a question."""
    return expected_answers(commands, line) != 0


def _answers_to(commands: Mapping[str, Command], words: Sequence[str]) -> int:
    known = commands.get(words[0])
    counts = [
        subcommand.asks.number
        for command in commands.values()
        for subcommand in command.subcommands
        if subcommand.asks
        and (
            _may_be(subcommand, words[1:])
            if known in (None, command)
            else _has_secret_option(subcommand.asks) and _has_option(subcommand.asks, words[1:])
        )
    ]
    return ALL_ANSWERS if ALL_ANSWERS in counts else max(counts, default=0)


def _may_be(subcommand: Subcommand, words: Sequence[str]) -> bool:
    """Say whether ``words``, misspelt or not, may be ``subcommand`` in a form that asks."""
    asks = subcommand.asks
    assert asks is not None
    if asks.unless in words:
        return False
    if asks.option:
        return any(_means(word, asks.option, misspelt=asks.secret) for word in words)
    _, *wanted = head(subcommand.usage[0], subcommand.values)
    return len(words) >= len(wanted) and all(
        _means(word, literal, misspelt=asks.secret)
        for word, literal in zip(words, wanted, strict=False)
    )


def _has_secret_option(asks: Answers) -> bool:
    return asks.secret and bool(asks.option)


def _has_option(asks: Answers, words: Sequence[str]) -> bool:
    return any(word.startswith("-") and _means(word, asks.option, misspelt=True) for word in words)


def _means(word: str, literal: str, *, misspelt: bool) -> bool:
    if not misspelt:
        return word == literal
    if word.strip("-") and literal.startswith(word):  # abbreviated
        return True
    return nearest(word.lstrip("-"), [literal.lstrip("-")], _CLOSE) is not None
