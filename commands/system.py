"""hostname, version, date, uptime, options, rdfile, logger, priv: the system at large."""

from binascii import b2a_base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import ClassVar

from filer import RELEASE, __version__
from filer.commands import Call, Command, Json, Refused, Subcommand, Suggestion, no_values
from filer.host.quoting import named
from filer.host.text import printable
from filer.registration.pem import CLIENT_PRIVATE
from filer.system import Filer


@dataclass(frozen=True)
class Hostname:
    """``hostname``."""

    TYPE: ClassVar[str] = "hostname"
    hostname: str

    def lines(self) -> Iterable[str]:
        """The name."""
        return [self.hostname]

    def data(self) -> Mapping[str, Json]:
        """The name."""
        return {"hostname": self.hostname}


def _hostname(call: Call) -> None:
    call.show(Hostname(call.filer.hardware.hostname))


@dataclass(frozen=True)
class Release:
    """``version``."""

    TYPE: ClassVar[str] = "release"

    def lines(self) -> Iterable[str]:
        """One line."""
        return [f"NetApp Release {RELEASE} 7-Mode: filer {__version__} (emulated)"]

    def data(self) -> Mapping[str, Json]:
        """The release of Data ONTAP, and that of this program."""
        return {"release": RELEASE, "mode": "7-Mode", "filer": __version__}


def _version(call: Call) -> None:
    call.show(Release())


@dataclass(frozen=True)
class Date:
    """``date``."""

    TYPE: ClassVar[str] = "date"
    now: datetime

    def lines(self) -> Iterable[str]:
        """Date, time of day and time zone."""
        return [f"{self.now:%a %b %e %H:%M:%S %Z %Y}"]

    def data(self) -> Mapping[str, Json]:
        """The time, with its zone."""
        return {"time": iso(self.now)}


def iso(time: datetime) -> str:
    """Return ``time``, which bears a time zone, as ISO 8601 writes it."""
    return time.isoformat(timespec="seconds")


def _date(call: Call) -> None:
    call.show(Date(call.filer.now()))


@dataclass(frozen=True)
class Uptime:
    """``uptime``: the time of day, and since when there is power."""

    TYPE: ClassVar[str] = "uptime"
    now: datetime
    since: datetime

    def lines(self) -> Iterable[str]:
        """One line; the protocols, none of which is emulated, have served nothing."""
        up = self._up
        yield (
            f"{self.now:%l:%M}{'am' if self.now.hour < 12 else 'pm'} up {_duration(up)}, "
            "0 NFS ops, 0 CIFS ops, 0 HTTP ops, 0 FCP ops, 0 iSCSI ops"
        )

    def data(self) -> Mapping[str, Json]:
        """Both times, and the whole seconds between them."""
        seconds = int(self._up.total_seconds())
        return {"now": iso(self.now), "since": iso(self.since), "seconds": seconds}

    @property
    def _up(self) -> timedelta:
        return max(timedelta(), self.now - self.since)  # the clock may have been set back


def _duration(up: timedelta) -> str:
    minutes = up // timedelta(minutes=1)
    days, minutes = divmod(minutes, 24 * 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours:2}:{minutes:02}" if hours or days else f"{minutes} mins"
    return f"{days:2} days, {clock}" if days else clock


def _uptime(call: Call) -> None:
    call.show(Uptime(call.filer.now(), call.filer.powered_on))


def option_values(filer: Filer) -> dict[str, str]:
    """Return the options of the system, by name."""
    hardware = filer.hardware

    def switch(on: bool) -> str:
        return "on" if on else "off"

    return {
        "autoboot": switch(filer.loader.autoboot),
        "kmip.init.maxwait": f"{hardware.init_maxwait:g}",
        "kmip.port": str(filer.port),
        "kmip.timeout": f"{hardware.timeout:g}",
        "snaplock": switch(hardware.snaplock),
        "storageencryption.support": switch(hardware.storage_encryption),
    }


@dataclass(frozen=True)
class OptionTable:
    """``options``: names and values."""

    TYPE: ClassVar[str] = "options"
    values: Sequence[tuple[str, str]]

    def lines(self) -> Iterable[str]:
        """An option a line."""
        return [f"{name:<28} {value}" for name, value in self.values]

    def data(self) -> Mapping[str, Json]:
        """The options by name."""
        return {"options": dict(self.values)}


def _options(call: Call) -> None:
    prefix = call.value("name") or ""
    values = option_values(call.filer)
    chosen = [(name, value) for name, value in values.items() if name.startswith(prefix)]
    if not chosen:
        raise Refused(f"No such option {named(prefix)}")
    call.show(OptionTable(chosen))


def _option_names(filer: Filer) -> Iterable[Suggestion]:
    return option_values(filer).items()


def _rdfile(call: Call) -> None:
    path = call.value("path") or ""
    content = call.filer.mroot.read(path)
    if b"PRIVATE KEY-----" in content or PurePosixPath(path).name == CLIENT_PRIVATE:
        raise Refused(f"{printable(path)}: holds a private key")
    call.show(FileContent(path, content))


@dataclass(frozen=True)
class FileContent:
    """``rdfile``: a file, as it is, but safe for a terminal."""

    TYPE: ClassVar[str] = "file"
    path: str
    content: bytes

    def lines(self) -> Iterable[str]:
        """The lines of the file; tabs stay, other control characters are escaped."""
        lines = self.content.split(b"\n")
        for line in lines[:-1] if lines[-1] == b"" else lines:
            yield "\t".join(printable(part) for part in line.split(b"\t"))

    def data(self) -> Mapping[str, Json]:
        """The content as it is; base64 where it is no UTF-8."""
        path = printable(self.path)
        try:
            return {"path": path, "encoding": "utf-8", "content": self.content.decode()}
        except UnicodeDecodeError:
            content = b2a_base64(self.content, newline=False).decode()
            return {"path": path, "encoding": "base64", "content": content}


def _logger(call: Call) -> None:
    call.filer.messages.log("logger.usr", "notice", " ".join(call.words("TEXT")))


_WARNING = """\
Warning: These advanced commands are potentially dangerous; use
         them only when directed to do so by NetApp
         personnel."""


@dataclass(frozen=True)
class Privilege:
    """``priv set``."""

    TYPE: ClassVar[str] = "privilege"
    privilege: str

    def lines(self) -> Iterable[str]:
        """A warning before what advanced commands can do."""
        return _WARNING.splitlines() if self.privilege == "advanced" else ()

    def data(self) -> Mapping[str, Json]:
        """The privilege that the session has now."""
        return {"privilege": self.privilege}


def _priv(call: Call) -> None:
    privilege = "advanced" if "advanced" in call.arguments.options else "admin"
    call.session.privilege = privilege
    call.show(Privilege(privilege))


COMMANDS = (
    Command(
        "hostname",
        "print the name of the filer",
        Subcommand("hostname", _hostname, changes=False),
    ),
    Command("version", "print the release", Subcommand("version", _version, changes=False)),
    Command("date", "print the date and the time of day", Subcommand("date", _date, changes=False)),
    Command(
        "uptime",
        "print how long the filer has been up",
        Subcommand("uptime", _uptime, changes=False),
    ),
    Command(
        "options",
        "print the options of the system",
        Subcommand("options [ name ]", _options, values={"name": _option_names}, changes=False),
    ),
    Command(
        "rdfile",
        "print a file of the root volume",
        Subcommand("rdfile path", _rdfile, values={"path": no_values}, changes=False),
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
            "priv set [ admin | advanced ]",
            _priv,
            "set the privilege of this session",
            options={
                "admin": "the usual privilege",
                "advanced": "for dangerous commands as well",
            },
            changes=False,
        ),
    ),
)
