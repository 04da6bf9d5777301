"""`Filer`: the one state object, which every command receives."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from filer.boot_device.generations import BootDevice
from filer.boot_device.loader import BootArguments, LoaderEnvironment
from filer.boot_device.panics import Panics
from filer.clock import Clock
from filer.config import OWN_SHELF, Hardware
from filer.disks.aggregate import Aggregate, assemble
from filer.disks.derivation import Derivation
from filer.disks.disk import Disk
from filer.disks.jobs import DiskJobs
from filer.disks.ownership import Node, Ownership, survey
from filer.disks.record import Owner
from filer.disks.repair import Repairs
from filer.disks.shelf import Shelf
from filer.host.durable import Storage
from filer.host.toml_file import ConfigError
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.key_id import MSID_KEY_ID, is_reserved
from filer.keys.keytable import Keytable
from filer.mroot.system_log import Messages
from filer.mroot.volume import Mroot
from filer.options import Options
from filer.pair.pair import Pair
from filer.registration.installed import Installed
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from filer.registration.registration import Registration
from filer.root import Root
from filer.running.interrupt import Interrupt
from filer.running.progress import Progress
from filer.running.turn import ChangeLock

if TYPE_CHECKING:
    from filer.key_servers.creation import SystemIdentity
    from filer.key_servers.group import KeyServers
    from filer.kmip.interface import Interface
    from filer.kmip.login import Login


def _in_log(owner: Owner) -> str:
    if not owner.system_id:
        return "unowned"
    return f"{owner.name} (ID {owner.system_id})".lstrip()


def node_of(hardware: Hardware, options: Options) -> Node:
    """Return the system with ``hardware`` as an owner of disks.

    If its options cannot be read, it takes no disks without an owner.
    """
    try:
        auto_assign = options["disk.auto_assign"] == "on"
    except ConfigError:
        auto_assign = False
    return Node(
        hardware.system_id,
        hardware.hostname,
        hardware.partner_id,
        os.path.normpath(hardware.directory) != OWN_SHELF,
        auto_assign,
    )


CertificatePath = Callable[[str], Path]


@dataclass(eq=False, repr=False)
class Filer:
    """The state of one filer: everything that a command shows or changes."""

    root: Root
    hardware: Hardware
    storage: Storage
    boot_device: BootDevice
    registration: Registration
    installed: Installed
    mroot: Mroot
    messages: Messages
    derivation: Derivation
    shelf: Shelf
    clock: Clock
    now: Callable[[], datetime]
    """The time of ``clock``."""
    random: Callable[[int], bytes]
    powered_on_by_host: datetime
    panics: Panics
    loader: LoaderEnvironment
    boot_arguments: BootArguments
    options: Options
    monotonic: Callable[[], float] = time.monotonic
    """Seconds of a clock that is never set, for durations."""
    interrupt: Interrupt = field(default_factory=Interrupt)
    progress: Progress = field(default_factory=Progress)
    keytable: Keytable = field(default_factory=Keytable)
    wafl_is_up: bool = False
    """Whether a boot has brought the root aggregate online, and with it /mroot."""

    login: Login | None = None
    """What the key servers get besides the client certificate."""
    changes: ChangeLock = field(default_factory=ChangeLock)
    repairs: Repairs = field(default_factory=Repairs)
    """What is being done to the disks in the background."""
    last_heard: dict[str, bool] = field(default_factory=dict)
    """Whether each key server answered its last query since power-on."""
    pair: Pair | None = None
    """The HA pair, if this system has a partner."""
    partner: Filer | None = None
    """The partner, while this system has taken it over."""
    served_by: str = ""
    """The hostname of the partner that has taken this system over."""

    @property
    def powered_on(self) -> datetime:
        """When the filer was powered on, by its clock as it is set now."""
        return self.powered_on_by_host + self.clock.offset()

    @property
    def identity(self) -> SystemIdentity:
        from filer.key_servers.creation import SystemIdentity

        return SystemIdentity(self.hardware.system_id, self.hardware.partner_id)

    @property
    def expiry_notice(self) -> timedelta:
        """How long before a certificate expires there are warnings."""
        return timedelta(days=self.hardware.expiry_warning_days)

    @property
    def port(self) -> int:
        """The TCP port of all key servers."""
        return self.registration.port or self.hardware.port

    @property
    def key_tag(self) -> str:
        """The tag of a new key pair when none is given (man key_manager, rekey)."""
        return self.registration.default_tag or self.identity.parent_tag

    @property
    def node(self) -> Node:
        """This system as an owner of disks."""
        return node_of(self.hardware, self.options)

    def assembled(self) -> Aggregate:
        """Return the root aggregate, by what the disks record now."""
        self.shelf.look_again()
        return assemble(self.shelf, self.node)

    def ownership(self) -> Ownership:
        """Return who owns each disk, by what the disks record now."""
        self.shelf.look_again()
        return survey(self.shelf, self.node)

    def assign(self, disks: Iterable[Disk], owner: Owner) -> None:
        """Make ``owner`` the owner of ``disks`` (`NO_OWNER`: release them), and log each.

        Raises StorageError or DiskError; the disks before that are written then.
        """
        for disk in disks:
            before = disk.owner
            if owner.system_id:
                disk.assign(owner)
            else:
                disk.release()
            self.messages.log(
                "diskown.changingOwner",
                "info",
                f"changing ownership for disk {disk.name} (S/N {disk.serial}) "
                f"from {_in_log(before)} to {_in_log(owner)}",
            )

    def disk_jobs(self) -> DiskJobs:
        return DiskJobs(self.keytable, self.interrupt, self.progress.show)

    def key_servers(
        self, addresses: Collection[str] | None = None, interface: Interface | None = None
    ) -> KeyServers:
        """Return the registered key servers, or those at ``addresses``, for one command.

        With ``interface``, connections to them come from there.
        """
        chosen = self.registration.servers if addresses is None else addresses
        path = self.boot_device.certificate_path
        return self.key_servers_at(chosen, self.port, path, interface)

    def key_servers_at(
        self,
        addresses: Collection[str],
        port: int,
        certificate: CertificatePath,
        interface: Interface | None = None,
    ) -> KeyServers:
        """Return key servers; ``certificate`` maps the name of a certificate to its file."""
        from filer.key_servers.group import KeyServers
        from filer.kmip.client import Credentials, KmipClient

        servers = {
            address: KmipClient(
                address,
                port,
                Credentials(
                    certificate(CLIENT), certificate(CLIENT_PRIVATE), certificate(ca_name(address))
                ),
                self.hardware.timeout,
                login=self.login,
                interface=interface,
                ignored=is_reserved,
                now=self.now,
            )
            for address in addresses
        }
        return KeyServers(
            servers, self.interrupt, last_heard=self.last_heard, show=self.progress.show
        )

    def key_ids_in_use(self) -> Mapping[str, int]:
        """Return the key ID of each disk, except the MSID's, with its number of disks.

        The disks of other systems count too: their keys are not dropped from the keytable.
        """
        self.shelf.look_again()
        return Counter(
            disk.key_id for disk in self.shelf if not disk.destroyed and disk.key_id != MSID_KEY_ID
        )

    def key_ids_needed(self) -> Mapping[str, int]:
        """Return each key ID that disks name or may name, with its number of disks.

        One that only a disk which was not read may have has 0 disks.
        """
        return {**dict.fromkeys(self.key_ids_of_absent_disks(), 0), **self.key_ids_in_use()}

    def key_ids_of_absent_disks(self) -> Collection[str]:
        """Return the key IDs that disks which were not read may have; none if all were read.

        That is any in the keytable, and the one that such a disk had when it was last recorded.
        """
        if not self.shelf.absent():
            return ()
        last_known = {disk.key_id for disk in self.shelf.missing().values()} - {MSID_KEY_ID}
        return last_known | {entry.key_id for entry in self.keytable}

    def known_keys(self) -> Mapping[str, Sequence[AuthenticationKey]]:
        """Return, by key ID, the keys that its disks have accepted, or else may accept."""
        return {entry.key_id: entry.candidates for entry in self.keytable} | self.accepted_keys()

    def accepted_keys(self) -> dict[str, Sequence[AuthenticationKey]]:
        """Return the keys that locked disks have accepted since power-on, by key ID.

        Omits a key ID if one of its locked disks has accepted no key: it may need another key.
        """
        accepted: dict[str, list[AuthenticationKey]] = {}
        unknown: set[str] = set()
        for disk in self.shelf:
            if disk.destroyed or not disk.locking:
                continue
            if disk.accepted_key is None:
                unknown.add(disk.key_id)
            else:
                accepted.setdefault(disk.key_id, []).append(disk.accepted_key)
        return {key_id: keys for key_id, keys in accepted.items() if key_id not in unknown}
