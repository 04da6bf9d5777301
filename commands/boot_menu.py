"""The boot menu: its items are the commands of a console of its own."""

from collections.abc import Callable
from functools import partial
from typing import NoReturn

from filer.commands import (
    Answers,
    Call,
    Command,
    Consent,
    Leave,
    Next,
    Refused,
    Run,
    Subcommand,
    Unprefixed,
)
from filer.commands.disk.erase import DataLoss
from filer.commands.disk.report import own_disks_to_erase, report_absent, report_disks
from filer.commands.parts.dialogue import ask_until, yes_or_no
from filer.disks.aggregate import POSITIONS, make_root
from filer.disks.record import Mark
from filer.system import Filer


def _boot(_call: Call) -> NoReturn:
    raise Leave(Next.BOOT)


def _maintenance(_call: Call) -> NoReturn:
    raise Leave(Next.MAINTENANCE)


def _not_emulated(text: str, _call: Call) -> NoReturn:
    raise Unprefixed(f"{text} is not emulated.")


def _initialize(call: Call) -> NoReturn:
    """Erase the disks of this system and what was on its root volume, and boot.

    No disk needs a key afterwards: each has the MSID.  The registered key servers stay, and keep
    all keys.  A disk that has failed, or cannot be erased, is not used, if there are enough others.
    """
    filer = call.filer
    ownership = filer.ownership()
    report_absent(call, ("*",), "data")
    disks = own_disks_to_erase(call, ownership)
    usable = [disk for disk in disks if not disk.marks & (Mark.FAILED | Mark.PREFAILED)]
    if len(usable) < len(POSITIONS):
        text = f"aggr0 needs {len(POSITIONS)} disks, and {len(usable)} can be used"
        if failed := len(disks) - len(usable):
            text += f"; {failed} have failed: disk unfail in maintenance mode lets them be used"
        raise Refused(text)
    call.show(DataLoss("sanitize", [disk.name for disk in disks]))
    for question in (
        "Zero disks, reset config and install a new file system?: ",
        "This will erase all the data on the disks, are you sure?: ",
    ):
        consent = Consent(question, _agrees)
        if not ask_until(call.console, consent, partial(yes_or_no, default=False)):
            raise Refused("not confirmed; nothing was changed")
    call.asked_all = True
    report = filer.disk_jobs().sanitize(disks, refusal=ownership.refusal)
    report_disks(call, report)
    erased = [disk for disk in usable if disk.name in report.succeeded]
    if report.not_reached or len(erased) < len(POSITIONS):
        raise Refused("not all disks were initialized; the configuration stays")
    make_root(filer.shelf, filer.node, erased, filer.random)
    _clean_configuration(filer)
    raise Leave(Next.BOOT)


def _agrees(answer: str) -> bool:
    return answer.strip().lower() in ("y", "yes")


def _clean_configuration(filer: Filer) -> None:
    """Remove the files of the filer on the root volume, which was on the erased disks."""
    for name in filer.installed.names():
        filer.installed.delete(name)
    for path in (filer.root.registry, *filer.root.system_logs()):
        filer.storage.remove(path)


_ITEMS: tuple[tuple[str, Run | None], ...] = (
    ("Normal Boot.", _boot),
    ("Boot without /etc/rc.", None),
    ("Change password.", None),
    ("Clean configuration and initialize all disks.", _initialize),
    ("Maintenance mode boot.", _maintenance),
    ("Update flash from backup config.", None),
    ("Install new software first.", None),
    ("Reboot node.", _boot),
)

TEXT = "\n".join(
    (
        "Please choose one of the following:",
        "",
        *(f"({number}) {text}" for number, (text, _) in enumerate(_ITEMS, 1)),
    )
)
"""The menu."""


def _item(number: int, text: str, run: Run | None) -> Command:
    name, title = str(number), text.rstrip(".")
    refusing: Callable[[Call], None] = partial(_not_emulated, f"({number}) {title}")
    asks = Answers(2) if run is _initialize else None
    return Command(name, title, Subcommand(name, run or refusing, title, asks=asks))


COMMANDS_IN_BOOT_MENU = tuple(_item(number, *item) for number, item in enumerate(_ITEMS, 1))
