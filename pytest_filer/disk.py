"""A disk of the filer under test, and what can befall it."""

from pathlib import Path

from pytest_filer.key_servers import KeyServerProcess


class Disk:
    """A disk in the shelf of the filer."""

    def __init__(self, process: KeyServerProcess, root: Path, name: str) -> None:
        self.name = name
        self._process = process
        self._root = root

    def lock_out(self) -> None:
        """Let the disk have counted 1024 failed authentications: it tries no more keys.

        The filer must be off, because it has the counts of its disks in memory.
        """
        __tracebackhide__ = True
        self._process.ask("lock_out", self._root, self.name)

    def fail(self) -> None:
        """Let the disk break down, also while the filer is on: its header is gone for good."""
        __tracebackhide__ = True
        self._process.ask("fail", self._root, self.name)
