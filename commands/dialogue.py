"""The questions that commands ask."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from commands import Console, Json
from filer.authentication_key import AuthenticationKey
from filer.errors import FilerError
from filer.passphrase import PassphraseError, accept

T = TypeVar("T")

TRIES = 3
"""How often a manual passphrase may be entered."""


@dataclass(frozen=True)
class AnswerRefused:
    """An answer that will not do; the question comes again."""

    TYPE: ClassVar[str] = "answer_refused"
    reason: str

    def lines(self) -> Iterable[str]:
        """The reason."""
        return [self.reason]

    def data(self) -> Mapping[str, Json]:
        """The reason."""
        return {"reason": self.reason}


def ask_until(console: Console, question: str, read: Callable[[str], T]) -> T:
    """Ask until ``read`` accepts the answer; what it refuses is explained.

    Raises EndOfAnswers or Cancelled.
    """
    while True:
        try:
            return read(console.ask(question).strip())
        except FilerError as problem:
            console.show(AnswerRefused(str(problem)))


def ask_yes_no(console: Console, question: str, *, default: bool) -> bool:
    """Ask a question whose default stands in braces: ``{yes}``."""

    def read(answer: str) -> bool:
        match answer.lower():
            case "":
                return default
            case "y" | "yes":
                return True
            case "n" | "no":
                return False
        raise FilerError("Please answer yes or no.")

    return ask_until(console, f"{question} {{{'yes' if default else 'no'}}} ", read)


def ask_passphrase(console: Console) -> AuthenticationKey:
    """Ask for a new passphrase, twice a try, neither entry echoed.

    Both entries of a try are read before it is judged.  Raises PassphraseError after the last
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
