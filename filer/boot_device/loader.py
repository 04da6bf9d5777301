"""The environment of the boot loader: variables that act on a boot."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from filer.config import Hardware
from filer.host.durable import Storage
from filer.host.errors import FilerError
from filer.host.quoting import quoted
from filer.host.toml_file import ConfigError, Document, RuleError, dump, one_of, switch
from filer.kmip.interface import Interface

AUTOBOOT = "AUTOBOOT"

_MOST = 64
"""Variables; they fit into the largest file that is read."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_LONGEST_VALUE = 128


class LoaderError(FilerError):
    """A name or a value that a variable cannot have."""


class Variable(NamedTuple):
    """A variable that acts: ``check`` raises RuleError for an invalid value."""

    help: str
    check: Callable[[str], object]


def _address(value: str) -> None:
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        raise RuleError("must be an IPv4 address") from None


def _netmask(value: str) -> None:
    try:
        # A prefix length and a host mask are no netmasks, but ip_network takes them.
        valid = str(ipaddress.ip_network(f"0.0.0.0/{value}").netmask) == value
    except ValueError:
        valid = False
    if not valid:
        raise RuleError("must be a netmask, such as 255.255.255.0")


def _interface(value: str) -> None:
    if not re.fullmatch("[A-Za-z][A-Za-z0-9]{0,15}", value):
        raise RuleError("must be the name of an interface, such as e0M")


_ON_OFF, _TRUE_FALSE = one_of("on", "off"), one_of("true", "false")

VARIABLES: Mapping[str, Variable] = {
    AUTOBOOT: Variable("whether the filer boots again after a panic", _TRUE_FALSE),
    "kmip.init.maxwait": Variable("whether a boot waits for a key server, or halts", _ON_OFF),
    "kmip.init.maxwait.ping": Variable("whether it pings the key servers first", _ON_OFF),
    "kmip.init.ipaddr": Variable("the address that kmip_init uses", _address),
    "kmip.init.netmask": Variable("the netmask of this address", _netmask),
    "kmip.init.gateway": Variable("the gateway to other networks", _address),
    "kmip.init.interface": Variable("the interface of this address", _interface),
    "bootarg.storageencryption.support": Variable("Storage Encryption", _TRUE_FALSE),
    "bootarg.keymanager.support": Variable("key_manager and kmip_init", _TRUE_FALSE),
}
"""The variables that act, in the order of the manual page."""


class BootArguments(NamedTuple):
    """What the environment says about one boot; None: filer.toml decides."""

    storage_encryption: bool | None = None
    key_manager: bool = True
    waits_for_key_server: bool | None = None
    pings_first: bool = True
    interface: Interface | None = None
    warning: str | None = None
    """What is wrong with the environment."""

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> "BootArguments":
        """Return the arguments that ``variables``, all of them valid, stand for."""

        def is_set(name: str) -> bool | None:
            return variables[name] in ("true", "on") if name in variables else None

        parts = {part: variables.get(f"kmip.init.{part}", "") for part in ("netmask", "gateway")}
        address = variables.get("kmip.init.ipaddr")
        interface = warning = None
        if address:
            interface = Interface(variables.get("kmip.init.interface", "e0M"), address, **parts)
            if interface.gateway and not interface.has_gateway:
                warning = "kmip.init.gateway is not in the network of kmip.init.ipaddr; not used"
        elif any(parts.values()) or "kmip.init.interface" in variables:
            warning = "kmip.init.ipaddr is not set, so the other addresses are not used"
        return cls(
            storage_encryption=is_set("bootarg.storageencryption.support"),
            key_manager=is_set("bootarg.keymanager.support") is not False,
            waits_for_key_server=is_set("kmip.init.maxwait"),
            pings_first=is_set("kmip.init.maxwait.ping") is not False,
            interface=interface,
            warning=warning,
        )

    def applied_to(self, hardware: Hardware) -> Hardware:
        """Return ``hardware`` with the settings that the environment replaces."""
        if self.storage_encryption is not None:
            hardware = hardware._replace(storage_encryption=self.storage_encryption)
        if self.waits_for_key_server is not None:
            hardware = hardware._replace(init_maxwait=0.0)
        return hardware


class LoaderEnvironment:
    """The variables saved on the boot device, and ``unsaved`` changes, which the next boot loses.

    An unsaved value of None removes the variable.  ``default``, from filer.toml, says whether the
    filer boots again by itself until AUTOBOOT is set.
    """

    def __init__(
        self,
        path: Path,
        storage: Storage,
        default: bool,
        unsaved: Mapping[str, str | None] | None = None,
    ) -> None:
        self._path = path
        self._storage = storage
        self._default = default
        self.unsaved: dict[str, str | None] = dict(unsaved or {})

    @property
    def autoboot(self) -> bool:
        """Whether AUTOBOOT is set.  Raises ConfigError if the file is damaged."""
        value = self.variables().get(AUTOBOOT)
        return self._default if value is None else value == "true"

    def saved(self) -> Mapping[str, str]:
        """Return the variables on the boot device.  Raises ConfigError if the file is damaged."""
        document = Document.find(f"var/{self._path.name}", self._path)
        variables: dict[str, str] = {}
        for name, value in document.values.items() if document else ():
            try:
                if name == "autoboot":  # of version 0.1
                    variables[AUTOBOOT] = str(switch(value)).lower()
                else:
                    variables[name] = _checked(name, value)
            except RuleError as rule:
                assert document
                raise document.error((name,), f"{_shown(name)} {rule}") from None
        return variables

    def variables(self) -> Mapping[str, str]:
        """Return the saved variables with the unsaved changes.  Raises ConfigError."""
        return self._changed(self.saved())

    def boot_arguments(self) -> BootArguments:
        """Return what the variables say about a boot; if the file is damaged, a warning."""
        variables, damage = self._readable()
        arguments = BootArguments.of(variables)
        if damage is None:
            return arguments
        return arguments._replace(warning=f"{damage}; the saved variables are not used")

    def set(self, name: str, value: str) -> None:
        """Set a variable for the next boot.  Raises LoaderError."""
        try:
            _checked(name, value)
        except RuleError as rule:
            raise LoaderError(f"{_shown(name)} {rule}") from None
        variables, _damage = self._readable()
        if len({*variables, name}) > _MOST:
            raise LoaderError(f"a maximum of {_MOST} variables can be set")
        self.unsaved[name] = value

    def unset(self, name: str) -> None:
        """Remove a variable for the next boot.  Raises LoaderError if it is not set."""
        if name not in self.variables():
            raise LoaderError(f"{_shown(name)} is not set")
        self.unsaved[name] = None

    def save(self) -> ConfigError | None:
        """Save the variables on the boot device; return the damage of a file that is replaced."""
        variables, damage = self._readable()
        self._storage.write(self._path, dump(variables))
        self.unsaved.clear()
        return damage

    def _changed(self, saved: Mapping[str, str]) -> Mapping[str, str]:
        changed = {**saved, **self.unsaved}
        return {name: value for name, value in changed.items() if value is not None}

    def _readable(self) -> tuple[Mapping[str, str], ConfigError | None]:
        """Return the variables, and no saved ones but the damage if the file is damaged."""
        try:
            return self.variables(), None
        except ConfigError as damage:
            return self._changed({}), damage


def _shown(name: str) -> str:
    return name if _NAME.fullmatch(name) else quoted(name)


def _checked(name: str, value: object) -> str:
    """Return ``value`` if a variable ``name`` can have it.  Raises RuleError."""
    if not _NAME.fullmatch(name):
        raise RuleError("is not the name of a variable")
    is_text = isinstance(value, str) and value.isascii() and value.isprintable()
    if not is_text or not 0 < len(str(value)) <= _LONGEST_VALUE:
        raise RuleError(f"must be 1 to {_LONGEST_VALUE} printable ASCII characters")
    text = str(value)
    if name in VARIABLES:
        VARIABLES[name].check(text)
    return text
