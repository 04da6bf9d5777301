"""From the words of a line to a command and what they say, or what is wrong with them."""

from collections.abc import Mapping, Sequence

from filer.commands import Command, Complaint
from filer.host.passphrase_rule import is_passphrase
from filer.host.quoting import HIDDEN, may_be_secret, named
from filer.shell.line.grammar import Parse, UsageError, grammar_of
from filer.shell.line.names import not_found
from filer.shell.line.words import LanguageError, Word, split, typed_words

_USUAL_IN_NAMES = "abcdefghijklmnopqrstuvwxyz_?"


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
    if all(char in _USUAL_IN_NAMES for char in name):
        return named(name)
    is_part = any(is_passphrase(each.strip()) for each in (line, *line.split("\n")))
    is_secret = isinstance(name, Word) and name.may_be_secret
    return HIDDEN if is_part or is_secret else named(name)


def may_have_secret(line: str) -> bool:
    """Say whether ``line``, one of the lines that it joins, or a word of it may be a secret."""
    return any(map(may_be_secret, (line, *line.split("\n")))) or any(
        word.may_be_secret for words in typed_words(line) for word in words
    )
