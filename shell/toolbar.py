"""The bottom toolbar: the state of the filer in one line, as it is known without asking anybody."""

from collections.abc import Iterator
from typing import NamedTuple

from filer.errors import FilerError
from filer.text import printable
from shell.session import Session

_GAP = " | "


class Part(NamedTuple):
    """A part of the toolbar; ``alarm`` is what the administrator should look into."""

    text: str
    alarm: bool = False


def parts(session: Session) -> list[Part]:
    """Return the parts of the toolbar, the most important one first.

    Nobody is asked: a key server is up if it answered the last command, or boot, that asked it.
    """
    return [*_key_servers(session), *_disks(session), *_keys(session)]


def fitting(parts: list[Part], width: int) -> list[Part]:
    """Return as many of ``parts``, from the first on, as fit into ``width`` columns."""
    taken = 0
    for index, part in enumerate(parts):
        taken += len(part.text) + (len(_GAP) if index else 0)
        if taken > width:
            return parts[:index]
    return parts


def fragments(parts: list[Part]) -> list[tuple[str, str]]:
    """Return ``parts`` as styles and texts for the line editor."""
    styled: list[tuple[str, str]] = []
    for part in parts:
        if styled:
            styled.append(("", _GAP))
        styled.append(("class:alarm" if part.alarm else "", part.text))
    return styled


def _key_servers(session: Session) -> Iterator[Part]:
    registered = session.filer.registration.servers
    heard = session.filer.last_heard
    if not registered:
        yield Part("no key servers")
    elif any(address in heard for address in registered):
        up = sum(heard.get(address, False) for address in registered)
        yield Part(f"key servers {up}/{len(registered)} up", alarm=up < len(registered))
    else:
        yield Part(f"key servers {len(registered)}, not asked yet")


def _disks(session: Session) -> Iterator[Part]:
    disks = tuple(session.filer.shelf)
    try:
        locked = sum(disk.destroyed or disk.locking or disk.locked_out for disk in disks)
    except FilerError:  # without power nothing is known of them
        return
    yield Part(f"disks {locked}/{len(disks)} locked")


def _keys(session: Session) -> Iterator[Part]:
    yield Part(f"{len(session.filer.keytable)} key pairs")
    yield Part(f"tag {printable(session.filer.key_tag)}")
    yield Part(session.state.privilege)
