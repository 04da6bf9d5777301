"""From the words of a line to a command and what they say, or what is wrong with them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, takewhile

from filer.commands import Command, Complaint
from filer.host.passphrase_rule import is_passphrase
from filer.host.quoting import HIDDEN, may_be_secret, named, secret_words, shortened
from filer.host.text import nearest
from filer.shell.line.grammar import Parse, UsageError, grammar_of
from filer.shell.line.names import not_found
from filer.shell.line.synopsis import LITERAL
from filer.shell.line.words import LanguageError, Word, split, typed_words

_LONG = len("-all")
"""Characters of an option that is no word of a passphrase; a shorter one may be."""

_MOST_OPTIONS = 100
"""Options of a line that are looked for; further ones count as words of a passphrase."""

_USUAL_IN_NAMES = frozenset("abcdefghijklmnopqrstuvwxyz_?")


class WrongWords(Exception):
    """Words that are no command; ``word`` counts to the wrong or missing one from 1."""

    def __init__(self, complaint: Complaint, word: int = 1, usage: Sequence[str] = ()) -> None:
        super().__init__(complaint)
        self.complaint = complaint
        self.word = word
        self.usage = usage


def parse_command(
    commands: Mapping[str, Command], words: Sequence[str], line: str
) -> tuple[Command, Parse]:
    """Return the command that ``words`` of ``line`` name, and what they say.

    Raises WrongWords.
    """
    command = commands.get(words[0])
    if command is None:
        is_misspelt = words[0].casefold() in commands
        raise WrongWords(not_found(named(words[0]) if is_misspelt else shown_name(words[0], line)))
    try:
        return command, grammar_of(command).parse(words)
    except UsageError as problem:
        complaint = Complaint(
            str(problem),
            "usage",
            word=problem.word,
            expected=problem.expected,
            usage=problem.usage,
        )
        raise WrongWords(complaint, problem.word, problem.usage) from None


def would_run(commands: Mapping[str, Command], line: str) -> bool:
    """Say whether ``line`` is made of commands whose words fit their grammar."""
    try:
        lists: list[list[Word]] = split(line)
        for words in lists:
            parse_command(commands, words, line)
    except (LanguageError, WrongWords):
        return False
    return bool(lists)


def shown_name(name: str, line: str) -> str:
    """Return the name of a command, hidden if it may be a passphrase or a part of one.

    Blanks and semicolons split a passphrase into words.
    """
    if _USUAL_IN_NAMES.issuperset(name):  # a passphrase has more kinds of characters
        return shortened(name)
    is_part = any(is_passphrase(each.strip()) for each in (line, *line.split("\n")))
    is_secret = isinstance(name, Word) and name.may_be_secret
    return HIDDEN if is_part or is_secret else named(name)


def commands_of(commands: Mapping[str, Command], line: str) -> list[list[Word]]:
    """Split ``line``; in one that cannot run, mark the words that may be part of a passphrase.

    Raises LanguageError.
    """
    lists = split(line)
    start = _start_of_secret(commands, line)
    if start is not None:
        for word in (word for words in lists for word in words):
            word.hidden = word.end > start
    return lists


def shown_line(commands: Mapping[str, Command], line: str) -> str:
    """Return ``line`` as logs and recordings show it: without what may be a secret.

    A line that can run is shown as it is.  A secret of one word hides the whole line, a passphrase
    of several words hides the line from its first word on.
    """
    if may_have_secret(line):
        return line if would_run(commands, line) else HIDDEN
    start = _start_of_secret(commands, line)
    return line if start is None else f"{line[:start]}{HIDDEN}"


def _start_of_secret(commands: Mapping[str, Command], line: str) -> int | None:
    """Return where a passphrase of several words may begin in ``line``.

    Return None if there is no such place, if the line can run, or if it is only a comment.
    """
    text = line.replace("\\\n", "  ")  # a passphrase may continue on the next line
    if secret_words(text) is None or would_run(commands, line):
        return None
    lists = [words for words in typed_words(line) if words]
    if not lists:
        return None
    known = {word.start for word in (*_heads(commands, lists), *_options_of(commands, lists))}
    whole = (
        words[0].start
        for words in lists
        if is_passphrase(" ".join(text[words[0].start : words[-1].end].split()))
    )
    starts = [secret_words(text, known.__contains__), next(whole, None)]
    return min((start for start in starts if start is not None), default=None)


def _heads(commands: Mapping[str, Command], lists: Iterable[Sequence[Word]]) -> Iterator[Word]:
    """Yield the literals with which commands begin."""
    for words in lists:
        command = commands.get(words[0])
        kinds = grammar_of(command).check(words).kinds if command else ()
        literals = takewhile(LITERAL.__contains__, kinds)
        yield from (word for word, _ in zip(words, literals, strict=False))


def _options_of(commands: Mapping[str, Command], lists: Iterable[Sequence[Word]]) -> Iterator[Word]:
    """Yield the long options, misspelt or not, as far as a user types them."""
    options = {
        word
        for command in commands.values()
        for subcommand in command.subcommands
        for usage in subcommand.usage
        for word in usage.split()
        if word.startswith("-")
    }
    typed = (word for words in lists for word in words if word.startswith("-"))
    for word in islice(typed, _MOST_OPTIONS):
        if len(word) >= _LONG and nearest(word, options):
            yield word


def may_have_secret(line: str) -> bool:
    """Say whether ``line``, one of the lines that it joins, or a word of it may be a secret."""
    return any(map(may_be_secret, (line, *line.split("\n")))) or any(
        word.may_be_secret for words in typed_words(line) for word in words
    )
