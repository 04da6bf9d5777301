"""Every change is on the medium before it is reported; SIGKILL cannot show this, a host crash can.

A dead process leaves its writes to the kernel; a host that loses power does not. So these tests
record the system calls of a filer.
"""

import re
import sys
from pathlib import Path
from types import FrameType

from tests.kit import faulty
from tests.kit.faulty import FaultyKeyServer, WatchedStorage, Work
from tests.kit.house import House

WRITES, NAMES, SYNCS = "w", "n", "s"
LETTERS = {
    **dict.fromkeys(("write", "pwrite", "ftruncate", "truncate"), WRITES),
    **dict.fromkeys(("replace", "rename", "link", "symlink", "unlink", "mkdir", "rmdir"), NAMES),
    **dict.fromkeys(("fsync", "fdatasync"), SYNCS),
}
servers = faulty.servers(2)
# Data are synced before they get a name, and names before success is reported. The first name of
# a new file may survive a power loss; the sweep removes it.
DURABLE = re.compile(r"w+s(n+sn?)?|(n+s)+")


class RecordingStorage(WatchedStorage):
    """Records the system calls of each change, one letter per call."""

    def __init__(self) -> None:
        super().__init__()
        self.changed: list[str] = []

    def _change(self, work: Work, *_torn: Work) -> None:
        calls: list[str] = []

        def watch(_frame: FrameType, event: str, call: object) -> None:
            if event == "c_return" and getattr(call, "__module__", "") == "posix":
                calls.append(LETTERS.get(getattr(call, "__name__", ""), ""))

        sys.setprofile(watch)
        try:
            work()
        finally:
            sys.setprofile(None)
        self.changed.append("".join(calls))


def test_every_change_is_synced_before_it_is_reported(
    servers: list[FaultyKeyServer], tmp_path: Path
) -> None:
    storage = RecordingStorage()
    with House.build(tmp_path / "root", servers, storage) as house:
        house.add(*servers)
        house.rekey()
        house.lock()
        house.must("key_manager remove -key_server 127.0.0.3")
        house.must("keymgr delete cert 127.0.0.3_CA.pem")
        house.must("disk encrypt sanitize -all", "sanitize disk")
        house.boot()
    for letters in storage.changed:
        assert DURABLE.fullmatch(letters), letters
    # Of every kind: write, overwrite, create, link, remove or remove_tree.
    assert {"wsns", "ws", "wwsnsn", "nns", "ns"} <= set(storage.changed)
