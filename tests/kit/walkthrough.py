"""Documents with commands and their outputs: run the commands and insert the outputs.

In a ``console`` block, bash runs the text after ``$``, with the following lines after ``>``. A
command that ends in ``&`` runs until the document ends; its first line must appear before the next
command starts. All ``pycon`` blocks are one Python session. Both work in one directory.

``python -m tests.kit.walkthrough`` writes today's outputs into docs/STOLEN_DISK.md.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, chdir, contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from traceback import format_exception_only
from typing import Any

from tests.kit.paths import CHECKOUT

DOCUMENT = CHECKOUT / "docs" / "STOLEN_DISK.md"

SHOWN_DIRECTORY = "/home/you/lab"
SHOWN_ADDRESS = "127.0.0.9"

Run = Callable[[str], str]

_BLOCK = re.compile(r"```(console|pycon)\n(.*?)```\n", re.S)
_TYPED = re.compile(r"^(?:\$ .*\n(?:^>(?: .*)?\n)*|>>> .*\n(?:^\.\.\..*\n)*)", re.M)
_PROMPT = re.compile(r"^(?:\$|>>>|>|\.\.\.) ?", re.M)


def perform(document: str, directory: Path) -> str:
    """Run ``document`` in ``directory`` and return it with today's outputs.

    The directory and the key server's address in the document stand for ``directory`` and for an
    address that no other run on this machine uses.
    """
    number = os.getpid()
    address = f"127.{1 + (number >> 16) % 254}.{number >> 8 & 255}.{number & 255}"
    with ExitStack() as stack:
        runs = {
            "console": stack.enter_context(_bash(directory)),
            "pycon": _python(directory),
        }

        def done(block: re.Match[str]) -> str:
            run, shown = runs[block[1]], ""
            for typed in _TYPED.findall(block[2]):
                out = run(_PROMPT.sub("", typed.replace(SHOWN_ADDRESS, address)))
                shown += typed + out.replace(address, SHOWN_ADDRESS)
            return f"```{block[1]}\n{shown.replace(str(directory), SHOWN_DIRECTORY)}```\n"

        return _BLOCK.sub(done, document)


@contextmanager
def _bash(directory: Path) -> Iterator[Run]:
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
        "HOME": str(directory),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
    }

    def start(command: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["bash", "-c", command],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    with ExitStack() as stack:

        def run(command: str) -> str:
            stays = command.endswith(" &\n")
            process = start(f"exec {command[:-3]}" if stays else command)
            assert process.stdout is not None
            if not stays:
                return process.communicate(timeout=60)[0]
            stack.enter_context(process)
            stack.callback(process.terminate)
            return process.stdout.readline()

        yield run


def _python(directory: Path) -> Run:
    names: dict[str, Any] = {"__name__": "__main__"}

    def run(source: str) -> str:
        with chdir(directory), redirect_stdout(StringIO()) as out:
            try:
                exec(compile(source, "<document>", "single"), names)
            except Exception as error:
                print("Traceback (most recent call last):\n    ...")
                print(*format_exception_only(error), sep="", end="")
        return out.getvalue()

    return run


if __name__ == "__main__":
    with TemporaryDirectory() as lab:
        DOCUMENT.write_text(
            perform(DOCUMENT.read_text(encoding="utf-8"), Path(lab)), encoding="utf-8"
        )
