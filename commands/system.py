"""hostname, version, date, uptime, rdfile, logger, priv: general commands."""

import os
import re
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import ClassVar, Literal, Self

from filer import BUILT, RELEASE, __version__
from filer.commands import (
    TEXT_ONLY,
    Call,
    Command,
    Fields,
    Refused,
    Subcommand,
    Suggestion,
    no_values,
)
from filer.host.quoting import quoted
from filer.host.text import printable
from filer.registration.pem import CLIENT_PRIVATE
from filer.system import Filer


def _full(time: datetime) -> str:
    """Return ``time`` as ``date`` prints it."""
    return f"{time:%a %b %e %H:%M:%S %Z %Y}"


class Hostname(Fields):
    """``hostname``."""

    TYPE: ClassVar[str] = "hostname"
    hostname: str

    def lines(self) -> Iterable[str]:
        """The name."""
        return [self.hostname]


def _hostname(call: Call) -> None:
    call.show(Hostname(call.filer.hardware.hostname))


class Release(Fields, kw_only=True):
    """``version``."""

    TYPE: ClassVar[str] = "release"
    release: str = RELEASE
    mode: str = "7-Mode"
    built: datetime = datetime.fromisoformat(BUILT)
    filer: str = __version__

    def lines(self) -> Iterable[str]:
        """One line, with the build date."""
        return [f"NetApp Release {self.release} {self.mode}: {_full(self.built)}"]


def _version(call: Call) -> None:
    call.show(Release())


class Date(Fields):
    """``date``."""

    TYPE: ClassVar[str] = "date"
    time: datetime

    def lines(self) -> Iterable[str]:
        """Date, time of day and time zone."""
        return [_full(self.time)]


def _date(call: Call) -> None:
    call.show(Date(call.filer.now()))


def _set_date(call: Call) -> None:
    filer = call.filer
    before = filer.now()
    time = _time(call.value("time") or "", before)
    filer.clock.set(time)
    filer.messages.log("kern.time.set", "notice", f"{_full(before)} became {_full(time)}")
    call.show(Date(time))


def _time(text: str, now: datetime) -> datetime:
    """Return the time in ``text``, [[cc]yy]MMDDhhmm[.ss].  Raises Refused.

    Without a year it is that of ``now``.
    """
    found = re.fullmatch(r"(?:(\d\d)?(\d\d))?(\d\d)(\d\d)(\d\d)(\d\d)(?:\.(\d\d))?", text, re.ASCII)
    if not found:
        raise Refused(f"{quoted(text)} is not a time: [[cc]yy]MMDDhhmm[.ss]")
    century, short, month, day, hour, minute, second = (int(part or -1) for part in found.groups())
    year = now.year
    if short >= 0:
        year = short + 100 * (century if century >= 0 else 19 if short >= _FIRST_YEAR % 100 else 20)
    try:
        time = datetime(year, month, day, hour, minute, max(second, 0), tzinfo=now.tzinfo)
    except ValueError as problem:
        raise Refused(f"{quoted(text)} is not a time: {problem}") from None
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        raise Refused(f"the year must be from {_FIRST_YEAR} to {_LAST_YEAR}")
    return time


_FIRST_YEAR, _LAST_YEAR = 1970, 2099


class Uptime(Fields):
    """``uptime``."""

    TYPE: ClassVar[str] = "uptime"
    now: datetime
    since: datetime
    seconds: int

    @classmethod
    def of(cls, now: datetime, since: datetime) -> Self:
        """Return the time since power-on, at least 0: the clock may have been set back."""
        return cls(now, since, max(0, int((now - since).total_seconds())))

    def lines(self) -> Iterable[str]:
        """One line; the protocols are not emulated, so they have served no operations."""
        up = _duration(timedelta(seconds=self.seconds))
        yield (
            f" {self.now:%l:%M}{'am' if self.now.hour < 12 else 'pm'} up {up} "
            "0 NFS ops, 0 CIFS ops, 0 HTTP ops, 0 FCP ops, 0 iSCSI ops"
        )


def _duration(up: timedelta) -> str:
    """Return the column of the duration; real filers put no comma behind one with days."""
    minutes = up // timedelta(minutes=1)
    days, minutes = divmod(minutes, 24 * 60)
    hours, minutes = divmod(minutes, 60)
    if days:
        return f"{days:2} days, {hours:2}:{minutes:02}"
    return f"{hours:2}:{minutes:02}," if hours else f"{minutes} mins,"


def _uptime(call: Call) -> None:
    call.show(Uptime.of(call.filer.now(), call.filer.powered_on))


def _rdfile(call: Call) -> None:
    path = call.value("path") or ""
    computed = _COMPUTED.get(path.removeprefix("/mroot"))
    if computed and not os.path.lexists(call.filer.root.mroot / "etc" / PurePosixPath(path).name):
        text = "".join(f"{line}\n" for line in computed(call.filer))
        call.show(FileContent.of(path, text.encode()))
        return
    path, content = read_in_filer(call)
    call.show(FileContent.of(path, content))


def _rc(filer: Filer) -> Iterable[str]:
    yield f"hostname {filer.hardware.hostname}"
    if interface := filer.boot_arguments.interface:
        netmask = f" netmask {interface.netmask}" if interface.netmask else ""
        yield f"ifconfig {interface.name} `hostname`-{interface.name}{netmask}"
        if interface.has_gateway:
            yield f"route add default {interface.gateway} 1"


def _hosts(filer: Filer) -> Iterable[str]:
    yield "127.0.0.1 localhost"
    if interface := filer.boot_arguments.interface:
        hostname = filer.hardware.hostname
        yield f"{interface.address} {hostname} {hostname}-{interface.name}"


_COMPUTED: Mapping[str, Callable[[Filer], Iterable[str]]] = {"/etc/rc": _rc, "/etc/hosts": _hosts}
"""Files that show the settings of the filer, unless there is a file of that name."""


def _paths(_filer: Filer) -> Iterable[Suggestion]:
    return [
        ("/etc/rc", "the settings of the start"),
        ("/etc/hosts", "names and addresses"),
        ("/etc/messages", "the system log"),
        ("/etc/registry", "the options that were set"),
    ]


def read_in_filer(call: Call) -> tuple[str, bytes]:
    """Return the path of a line, and the content of the file there.

    Raises MrootError, and Refused for a file that holds a private key.
    """
    path = call.value("path") or ""
    content = call.filer.mroot.read(path)
    if b"PRIVATE KEY-----" in content or PurePosixPath(path).name == CLIENT_PRIVATE:
        raise Refused(f"{printable(path)}: holds a private key")
    return path, content


class FileContent(Fields):
    """``rdfile``; content that is not UTF-8 is in base64."""

    TYPE: ClassVar[str] = "file"
    path: str
    encoding: Literal["utf-8", "base64"]
    content: str
    raw: bytes = field(metadata=TEXT_ONLY)

    @classmethod
    def of(cls, path: str, raw: bytes) -> Self:
        """Return the content ``raw`` of the file ``path``."""
        path = printable(path)
        try:
            return cls(path, "utf-8", raw.decode(), raw)
        except UnicodeDecodeError:
            return cls(path, "base64", b2a_base64(raw, newline=False).decode(), raw)

    def lines(self) -> Iterable[str]:
        """The lines of the file; tabs stay, other control characters are escaped."""
        lines = self.raw.split(b"\n")
        for line in lines[:-1] if lines[-1] == b"" else lines:
            yield "\t".join(printable(part) for part in line.split(b"\t"))


def _logger(call: Call) -> None:
    call.filer.messages.log("logger.usr", "notice", " ".join(call.words("TEXT")))


_WARNINGS = {
    "advanced": (
        "Warning: These advanced commands are potentially dangerous; use",
        "         them only when directed to do so by NetApp",
        "         personnel.",
    ),
    "diag": (
        "Warning: These diagnostic commands are for use by Network Appliance",
        "         personnel only.",
    ),
}


class Privilege(Fields):
    """``priv set``."""

    TYPE: ClassVar[str] = "privilege"
    privilege: Literal["admin", "advanced", "diag"]

    def lines(self) -> Iterable[str]:
        """A warning if dangerous commands become available."""
        return _WARNINGS.get(self.privilege, ())


def _priv(call: Call) -> None:
    options = call.arguments.options
    shown = Privilege(
        "diag" if "diag" in options else "advanced" if "advanced" in options else "admin"
    )
    call.session.privilege = shown.privilege
    call.show(shown)


DATE = Command(
    "date",
    "print or set the date and the time of day",
    Subcommand("date", _date, "print them", changes=False),
    Subcommand(
        "date time",
        _set_date,
        "set the clock of the filer: [[cc]yy]MMDDhhmm[.ss]",
        values={"time": no_values},
    ),
)
"""At LOADER too: a clock that is wrong can keep the filer from booting."""

COMMANDS = (
    Command(
        "hostname",
        "print the name of the filer",
        Subcommand("hostname", _hostname, changes=False),
    ),
    Command("version", "print the release", Subcommand("version", _version, changes=False)),
    DATE,
    Command(
        "uptime",
        "print how long the filer has been up",
        Subcommand("uptime", _uptime, changes=False),
    ),
    Command(
        "rdfile",
        "print a file of the root volume",
        Subcommand("rdfile path", _rdfile, values={"path": _paths}, changes=False),
    ),
    Command(
        "logger",
        "write a line into the system log",
        Subcommand("logger TEXT", _logger, values={"TEXT": no_values}, changes=False),
    ),
    Command(
        "priv",
        "set the privilege of this session",
        Subcommand(
            "priv set [ admin | advanced | diag ]",
            _priv,
            "set the privilege of this session",
            options={
                "admin": "the usual privilege",
                "advanced": "for dangerous commands as well",
                "diag": "for diagnostic commands as well",
            },
            changes=False,
        ),
    ),
)
