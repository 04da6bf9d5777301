"""A Pygments lexer of console transcripts, for documentation: ``filer-console``.

Programs that look for the lexer of another language load this module too, so it imports the
console only when it lexes.
"""

import re
import warnings
from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

from pygments.lexer import Lexer, do_insertions  # type: ignore[attr-defined]
from pygments.token import Error, Generic, Number, _TokenType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from filer.commands import Command

_Tokens = Iterator[tuple[int, _TokenType, str]]

_NAME = "[A-Za-z0-9][A-Za-z0-9_-]*"
_PROMPT = re.compile(rf"((?:{_NAME}(?:/{_NAME}|\(takeover\))?)?\*?>)(?: |$)", re.MULTILINE)
_TYPED = re.compile(rf"^(?!>){_PROMPT.pattern}(?:.*\\\n>(?: |$))*.*\n?", re.MULTILINE)
"""A command with the lines that continue it."""

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_KEY_ID = re.compile(r"\b([0-9A-Fa-f]{64}|0x0)\b")
_FAILURE = re.compile(
    r"""
      [^:\n]+:[0-9]+:[ ]  # the file and line of a script
    | [0-9]+[a-z]\.[0-9]+\.[0-9]+:[ ]  # a disk
    | (?:WARNING|PANIC|usage|kept|rekey|lock|sanitize|destroy):[ ]
    | Key[ ]server[ ]\S+[ ](?:is[ ]not[ ]responding|has[ ]not[ ]shown)
    | \S.*[ ]not[ ]found\.[ ][ ]Type[ ]'\?'
    | unclosed[ ]quote$
    | \*[ *].*\*$  # the box of a boot without key servers
    """,
    re.VERBOSE | re.MULTILINE,
)


class TranscriptLexer(Lexer):
    """Prompts, commands by their grammars, output with key IDs, failures and wrong words.

    The commands are those of this installation, with its plug-ins, or those of LOADER or of
    maintenance mode at their prompts.
    """

    name = "Filer console"
    aliases = ("filer-console",)

    def get_tokens_unprocessed(self, text: str) -> _Tokens:
        """Yield the offset, the token and the text of each part of ``text``."""
        from filer.shell.plugins import OTHER_CONSOLES, Commands

        booted = Commands(warnings.warn)
        others = {prompt: listed() for prompt, listed in OTHER_CONSOLES.items()}
        commands: Mapping[str, Command] = booted
        end = 0
        for typed in _TYPED.finditer(text):
            yield from _output(text, end, typed.start(), commands)
            commands = others.get(typed[1], booted)
            for offset, token, part in _command(typed[0], commands):
                yield typed.start() + offset, token, part
            end = typed.end()
        yield from _output(text, end, len(text), commands)


def _command(text: str, commands: "Mapping[str, Command]") -> _Tokens:
    """Yield the tokens of a command whose lines all begin with a prompt."""
    from filer.shell.line.highlighting import GrammarLexer

    command = ""
    prompts = []
    for line in _LINE.findall(text):
        prompt = _PROMPT.match(line)
        assert prompt is not None  # as in _TYPED
        prompts.append((len(command), [(0, Generic.Prompt, prompt[0])]))
        command += line[prompt.end() :]
    words = GrammarLexer(commands).get_tokens_unprocessed(command)
    for offset, token, part in do_insertions(prompts, words):
        # An Error would be one of this lexer: Sphinx warns, and leaves the text without colours.
        yield offset, Generic.Error if token is Error else token, part


def _output(text: str, start: int, end: int, commands: Container[str]) -> _Tokens:
    for line in _LINE.finditer(text, start, end):
        name, colon, _ = line[0].partition(": ")
        if _FAILURE.match(line[0]) or (colon and name in commands):
            yield line.start(), Generic.Error, line[0]
            continue
        offset = line.start()
        for number, part in enumerate(_KEY_ID.split(line[0])):
            if part:
                yield offset, Number.Hex if number % 2 else Generic.Output, part
            offset += len(part)
