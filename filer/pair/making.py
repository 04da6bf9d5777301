"""Making the roots of a new HA pair."""

from collections.abc import Mapping
from pathlib import Path

from filer.config import DEFAULT_TEXT, Hardware
from filer.host.durable import Storage
from filer.host.errors import FilerError
from filer.host.text import printable

NODES = ("filer1", "filer2")
SHELF = "shelf"


def make_pair(directory: Path, storage: Storage, *, port: int | None = None) -> tuple[Path, Path]:
    """Write two roots with crossed system IDs, and the shelf that they share, below ``directory``.

    ``port`` is that of the key servers, by default the standard one.  Return the roots.  Raises
    FilerError, and changes nothing, if one of the three exists.
    """
    roots = (directory / NODES[0], directory / NODES[1])
    for path in (*roots, directory / SHELF):
        if path.is_symlink() or path.exists():
            raise FilerError(f"{printable(str(path))} exists already; no pair was made")
    systems = (Hardware().system_id, Hardware().partner_id)
    storage.make_directory(directory / SHELF)
    for number, root in enumerate(roots):
        storage.make_directory(root)
        partner = NODES[1 - number]
        changes = {
            "hostname": f'"{NODES[number]}"',
            "system_id": str(systems[number]),
            "partner_id": str(systems[1 - number]),
            "partner_hostname": f'"{partner}"',
            "partner_root": f'"../{partner}"',
            "directory": f'"../{SHELF}"',
            **({} if port is None else {"port": str(port)}),
        }
        lines = DEFAULT_TEXT.splitlines(keepends=True)
        text = "".join(_changed(line, changes) for line in lines)
        storage.write(root / "filer.toml", text.encode())
    return roots


def _changed(line: str, changes: Mapping[str, str]) -> str:
    key, equals, rest = line.partition(" = ")
    if not equals or key not in changes:
        return line
    old, mark, comment = rest.partition("#")
    if not mark:
        return f"{key} = {changes[key]}\n"
    return f"{key} = {changes[key]:<{len(old) - 1}} {mark}{comment}"
