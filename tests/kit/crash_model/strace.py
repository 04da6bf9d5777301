"""Record with strace the changes in a flat directory: SQLite does not write through Python."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.kit.crash_model.trace import Enter, Event, Leave, Rename, Seen, Sync, Truncate, Write
from tests.kit.crash_model.tree import Inode, Kind, Tree

_CALLS = (
    "openat",
    "write",
    "pwrite64",
    "ftruncate",
    "fsync",
    "fdatasync",
    "unlink",
    "rename",
)
_LINE = re.compile(r"(?P<process>\d+) +(?P<text>.*)")
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\d+)")
_ARGUMENT = re.compile(r'"(?P<text>[^"]*)"|(?P<number>-?\w+)<(?P<path>[^>]*)>|(?P<word>[^,\s]+)')
_HEX = re.compile(r"\\x([0-9a-f]{2})")


def available() -> bool:
    """Whether programs can be traced on this host."""
    command = ["strace", "-o", "/dev/null", "true"]
    return bool(shutil.which("strace")) and subprocess.run(command, check=False).returncode == 0


def recorded(
    program: Sequence[str], directory: Path, log: Path, cwd: Path
) -> tuple[Tree, list[Event]]:
    """Run ``program``; return the original ``directory``, and its recorded changes.

    Each write to standard output is recorded as `Seen`, with all output so far.
    """
    before = Tree.load(directory)
    options = ["-f", "-y", "-xx", "-s", str(1 << 24), "-e", f"trace={','.join(_CALLS)}"]
    subprocess.run(
        ["strace", *options, "-o", log, *program], cwd=cwd, stdout=subprocess.PIPE, check=True
    )
    return before, list(_Reader(directory, before).events(log))


class _Reader:
    def __init__(self, directory: Path, before: Tree) -> None:
        self._directory = str(directory.resolve())
        self._root = before.root
        self._names = dict(before.entries[before.root])
        self._new = 1 + max(inode.number for inode in before.inodes)
        self._offsets: dict[str, int] = {}
        self._printed: tuple[str, ...] = ()

    def events(self, log: Path) -> Iterator[Event]:
        """Yield the events of a log in the order in which their calls ended."""
        begun: dict[str, str] = {}
        for line in log.read_text(encoding="ascii").splitlines():
            found = _LINE.fullmatch(line)
            assert found
            process, text = found["process"], found["text"]
            if text.endswith("<unfinished ...>"):
                begun[process] = text.removesuffix("<unfinished ...>").rstrip()
                continue
            if text.startswith("<... "):
                text = begun.pop(process) + text.split(" resumed>", 1)[1]
            call = _CALL.match(text)
            if call and int(call["result"]) >= 0:
                arguments = [_value(each) for each in _ARGUMENT.finditer(call["arguments"])]
                if call["name"] == "write" and call["arguments"].startswith("1<"):
                    self._printed += (arguments[1].decode("ascii"),)
                    yield Seen(self._printed)
                yield from self._event(call["name"], arguments, int(call["result"]))

    def _event(self, call: str, arguments: list[bytes], result: int) -> Iterator[Event]:
        name = self._name(arguments[1] if call == "openat" else arguments[0])
        if name is None:
            return
        inode = self._root if name == "" else self._names.get(name)
        match call:
            case "openat" if b"O_CREAT" in arguments[2] and inode is None:
                inode = self._names[name] = Inode(self._new, Kind.FILE)
                self._new += 1
                self._offsets[name] = 0
                yield Enter(name, self._root, name, inode)
            case "openat":
                self._offsets[name] = 0
            case "write" | "pwrite64":
                assert inode
                offset = int(arguments[3]) if call == "pwrite64" else self._offsets[name]
                self._offsets[name] = offset + result
                yield Write(name, inode, offset, arguments[1][:result])
            case "ftruncate":
                assert inode
                yield Truncate(name, inode, int(arguments[1]))
            case "fsync" | "fdatasync":
                assert inode
                yield Sync(name, inode)
            case "unlink":
                yield Leave(name, self._root, name, self._names.pop(name))
            case "rename":
                moved, new = self._names.pop(name), self._name(arguments[1])
                assert new
                self._names[new] = moved
                leave = Leave(name, self._root, name, moved)
                yield Rename(f"{name} -> {new}", leave, Enter(new, self._root, new, moved))

    def _name(self, path: bytes) -> str | None:
        """Return the name of a file in the directory, "" for the directory, None otherwise."""
        text = path.decode("utf-8", "replace")
        if text == self._directory:
            return ""
        parent, _, name = text.rpartition("/")
        return name if parent == self._directory else None


def _value(argument: re.Match[str]) -> bytes:
    """Return a string, the path of an open file, or an argument of a call."""
    text = argument["text"] if argument["text"] is not None else argument["path"]
    if text is None:
        return argument["word"].encode()
    return bytes.fromhex("".join(_HEX.findall(text))) if "\\x" in text else text.encode()
