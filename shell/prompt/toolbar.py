"""The bottom toolbar: the known state of the filer in one line, without network access."""

from collections.abc import Iterator
from typing import NamedTuple

from filer.host.errors import FilerError
from filer.host.text import printable
from filer.registration.certificates import days_left, first_to_expire
from filer.shell.session import Session

_GAP = " | "
_CUT = "..."
_TAG = 21
"""Columns of a shortened key tag; enough for the default tag of two system IDs."""


class Part(NamedTuple):
    """A part of the toolbar; ``alarm`` marks a state that needs the administrator.

    ``brief`` is a shorter text, if there is one.
    """

    text: str
    alarm: bool = False
    brief: str = ""


def parts(session: Session) -> list[Part]:
    """Return the parts of the toolbar, the most important one first.

    A key server counts as up if it answered its last query, by a command or the boot.
    """
    return [*_expiry(session), *_key_servers(session), *_disks(session), *_keys(session)]


def fitting(parts: list[Part], width: int) -> list[Part]:
    """Return as many of ``parts``, from the first on, as fit into ``width`` columns.

    If they do not all fit in full, the last ones are brief.
    """
    shown = [part._replace(text=part.brief or part.text) for part in parts]
    while _columns(shown) > width:
        shown.pop()
    for index in range(len(shown)):
        longer = [*shown[:index], parts[index], *shown[index + 1 :]]
        if _columns(longer) <= width:
            shown = longer
    return shown


def _columns(parts: list[Part]) -> int:
    return len(_GAP.join(part.text for part in parts))


def fragments(parts: list[Part]) -> list[tuple[str, str]]:
    """Return ``parts`` as styles and texts for the line editor."""
    styled: list[tuple[str, str]] = []
    for part in parts:
        if styled:
            styled.append(("", _GAP))
        styled.append(("class:alarm" if part.alarm else "", part.text))
    return styled


def _expiry(session: Session) -> Iterator[Part]:
    """Yield an alarm if a registered certificate has expired, or soon will."""
    filer = session.filer
    expiring = first_to_expire(filer.registration.certificates)
    if expiring is None:
        return
    name, expiry = expiring
    now = filer.now()
    if now > expiry:
        yield Part(f"{name} expired", alarm=True)
    elif expiry - now < filer.expiry_notice:
        yield Part(f"{name} expires {days_left(expiry, now)}", alarm=True)


def _key_servers(session: Session) -> Iterator[Part]:
    registered = session.filer.registration.servers
    heard = session.filer.last_heard
    count = len(registered)
    if not registered:
        yield Part("no key servers", brief="no servers")
    elif any(address in heard for address in registered):
        up = sum(heard.get(address, False) for address in registered)
        yield Part(f"key servers {up}/{count} up", up < count, brief=f"servers {up}/{count}")
    else:
        yield Part(f"key servers {count}, not asked yet", brief=f"servers ?/{count}")


def _disks(session: Session) -> Iterator[Part]:
    system_id = session.filer.hardware.system_id
    try:
        # The boot has written the owner to all of them.
        disks = [disk for disk in session.filer.shelf if disk.owner.system_id == system_id]
        locked = sum(disk.destroyed or disk.locking or disk.locked_out for disk in disks)
    except FilerError:  # the disks have no power
        return
    share = f"{locked}/{len(disks)}"
    yield Part(f"disks {share} locked", brief=f"locked {share}")


def _keys(session: Session) -> Iterator[Part]:
    count = len(session.filer.keytable)
    yield Part(f"{count} key pairs", brief=f"keys {count}")
    yield Part(session.state.privilege)
    tag = printable(session.filer.key_tag)
    yield Part(f"tag {tag}", brief=f"tag {_cut(tag)}")


def _cut(tag: str) -> str:
    return tag if len(tag) <= _TAG else f"{tag[: _TAG - len(_CUT)]}{_CUT}"
