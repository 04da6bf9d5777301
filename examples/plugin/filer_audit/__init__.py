"""audit: check that disks are locked, and sign for it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from filer.commands import Answers, Call, Command, Complaint, Json, Refused, Subcommand
from filer.system import Filer


@dataclass(frozen=True)
class Audit:
    """What ``audit disks`` found."""

    TYPE = "filer_audit"
    locked: int
    disks: int

    def lines(self) -> Iterable[str]:
        """Return the text."""
        return [f"{self.locked} of {self.disks} disks are locked."]

    def data(self) -> Mapping[str, Json]:
        """Return the fields for --format json."""
        return {"locked": self.locked, "disks": self.disks}


def _audit(call: Call) -> None:
    disks = call.filer.shelf.select(call.words("disk_list") or ("*",)).disks
    unlocked = [disk.name for disk in disks if not disk.locking]
    call.show(Audit(len(disks) - len(unlocked), len(disks)))
    for name in unlocked:
        call.fail(Complaint(f"audit: {name} is not locked", "disk_not_locked", disk=name))


def _sign(call: Call) -> None:
    name = call.console.ask("Your name: ").strip()
    if not name:
        raise Refused("not signed")
    call.filer.messages.log("audit.signed", "notice", f"signed by {name}")


def _names(filer: Filer) -> Iterable[tuple[str, str]]:
    return [(disk.name, "locked" if disk.locking else "not locked") for disk in filer.shelf]


_DISKS = Subcommand(
    "audit disks [ disk_list ]",
    _audit,
    "find disks that are not locked",
    values={"disk_list": _names},
    changes=False,
)
_SIGN = Subcommand("audit sign", _sign, "sign in the system log", changes=False, asks=Answers(1))

COMMANDS = [Command("audit", "check that disks are locked", _DISKS, _SIGN, manual="filer_audit")]
