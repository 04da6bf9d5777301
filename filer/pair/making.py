"""Making the roots of a new HA pair."""

from collections.abc import Mapping
from pathlib import Path

from filer.config import DEFAULT_TEXT, Hardware
from filer.host.durable import Storage
from filer.host.errors import FilerError
from filer.host.text import printable

NODES = ("filer1", "filer2")
SHELF = "shelf"


def make_pair(directory: Path, storage: Storage) -> tuple[Path, Path]:
    """Write two roots with crossed system IDs, and the shelf that they share, below ``directory``.

    Return the roots.  Raises FilerError, and changes nothing, if one of the three exists.
    """
    roots = (directory / NODES[0], directory / NODES[1])
    for path in (*roots, directory / SHELF):
        if path.is_symlink() or path.exists():
            raise FilerError(f"{printable(str(path))} exists already; no pair was made")
    systems = (Hardware().system_id, Hardware().partner_id)
    storage.make_directory(directory / SHELF)
    for number, root in enumerate(roots):
        storage.make_directory(root)
        text = _settings(NODES[number], systems[number], systems[1 - number], NODES[1 - number])
        storage.write(root / "filer.toml", text.encode())
    return roots


def _settings(hostname: str, system_id: int, partner_id: int, partner: str) -> str:
    changes = {
        "hostname": f'"{hostname}"',
        "system_id": str(system_id),
        "partner_id": str(partner_id),
        "partner_hostname": f'"{partner}"',
        "partner_root": f'"../{partner}"',
        "directory": f'"../{SHELF}"',
    }
    return "".join(_changed(line, changes) for line in DEFAULT_TEXT.splitlines(keepends=True))


def _changed(line: str, changes: Mapping[str, str]) -> str:
    key, equals, rest = line.partition(" = ")
    if not equals or key not in changes:
        return line
    old, mark, comment = rest.partition("#")
    if not mark:
        return f"{key} = {changes[key]}\n"
    return f"{key} = {changes[key]:<{len(old) - 1}} {mark}{comment}"
