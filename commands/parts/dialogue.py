"""The questions that commands ask."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import ClassVar, TypeVar

from filer.commands import Cancelled, Consent, Console, EndOfAnswers, Fields
from filer.host.errors import FilerError
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.passphrase import PassphraseError, accept

T = TypeVar("T")

TRIES = 3
"""Number of tries to enter a manual passphrase."""


class AnswerRefused(Fields):
    """Dialogues: an invalid answer, before the question is repeated."""

    TYPE: ClassVar[str] = "answer_refused"
    reason: str

    def lines(self) -> Iterable[str]:
        """The reason."""
        return [self.reason]


def ask_until(console: Console, question: str, read: Callable[[str], T]) -> T:
    """Ask until ``read`` accepts the answer; show the FilerError with which it refuses one.

    Raises EndOfAnswers or Cancelled.
    """
    while True:
        answer = console.ask(question).strip()
        try:
            return read(answer)
        except FilerError as problem:
            console.show(AnswerRefused(str(problem)))


def ask_yes_no(console: Console, question: str, *, default: bool) -> bool:
    """Ask a yes/no question that shows its default in braces: ``{yes}``."""
    hint = "yes" if default else "no"
    return ask_until(console, f"{question} {{{hint}}} ", partial(yes_or_no, default=default))


def ask_consent(console: Console, question: str) -> bool:
    """Ask a question whose yes can cost data or the last way to a key; the default is no."""
    read = partial(yes_or_no, default=False)

    def consents(answer: str) -> bool:
        with suppress(FilerError):
            return read(answer.strip())
        return False

    return ask_until(console, Consent(f"{question} {{no}} ", consents), read)


def ask_y_n(console: Console, question: str) -> bool:
    """Ask a yes/no question as boot and maintenance mode do: without a default."""
    return ask_until(console, question, yes_or_no)


def answered_y(console: Console, question: str, *, unanswered: bool) -> bool:
    """Ask as `ask_y_n` does; Ctrl-C and Ctrl-D count as ``unanswered``."""
    try:
        return ask_y_n(console, question)
    except (Cancelled, EndOfAnswers):
        return unanswered


def yes_or_no(answer: str, *, default: bool | None = None) -> bool:
    """Return whether ``answer`` is yes; an empty one is ``default``.  Raises FilerError."""
    match answer.lower():
        case "" if default is not None:
            return default
        case "y" | "yes":
            return True
        case "n" | "no":
            return False
    raise FilerError("Please answer yes or no.")


def ask_passphrase(console: Console) -> AuthenticationKey:
    """Ask for a new passphrase, twice per try, without echo.

    Both entries of a try are read before they are checked.  Raises PassphraseError after the last
    try, EndOfAnswers or Cancelled.
    """
    for tries_left in reversed(range(TRIES)):
        entry = console.ask_secret("Please enter a new passphrase: ")
        again = console.ask_secret("Please reenter the new passphrase: ")
        try:
            return accept(entry, again)
        except PassphraseError as problem:
            if not tries_left:
                raise
            console.show(AnswerRefused(f"{problem}; try again."))
    raise AssertionError("the last try returns or raises")
