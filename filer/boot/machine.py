"""The machine: power on, boot, panic, power off."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from filer.boot import kmip_init
from filer.boot.notices import Logged, Notices
from filer.boot.unlock import unlock_disks
from filer.boot_device.generations import BootDevice
from filer.boot_device.loader import LoaderEnvironment
from filer.boot_device.panics import Panics
from filer.clock import Clock
from filer.config import OWN_SHELF, Hardware
from filer.config import load as load_hardware
from filer.disks.aggregate import bring_online
from filer.disks.derivation import Derivation
from filer.disks.disk import Disk
from filer.disks.ownership import Ownership, claim, survey
from filer.disks.record import Mark
from filer.disks.shelf import Shelf
from filer.host.durable import Storage, StorageError
from filer.host.errors import FilerError
from filer.host.toml_file import ConfigError
from filer.key_servers.holdings import Holdings
from filer.mroot.system_log import Messages
from filer.mroot.volume import Mroot
from filer.options import Options
from filer.pair.pair import Pair
from filer.pair.service import GuardedStorage, ServiceLock, lock_of_disks, process_serving
from filer.registration.installed import Installed
from filer.root import Root, RootLock, unusable
from filer.running.interrupt import Interrupt
from filer.running.turn import ChangeLock
from filer.system import Filer, node_of

if TYPE_CHECKING:
    from filer.kmip.login import Login


class Panic(FilerError):
    """The filer cannot boot; the text begins with PANIC."""


class BootAborted(FilerError):
    """The boot ends before it tries a disk; no panic is counted, and AUTOBOOT does not act."""


class NoKeyServer(BootAborted):
    """No key server has answered; the partner may have the keys, and take over."""


class SystemIdMismatch(NamedTuple):
    """The system ID is not the one of the last boot, and ``disks`` belong to that."""

    old: int
    new: int
    disks: Sequence[Disk]


Override = Callable[[SystemIdMismatch], bool]
"""Says whether a boot makes the disks of the old system ID disks of the new one."""


def never(_mismatch: SystemIdMismatch) -> bool:
    """Leave the disks as they are."""
    return False


def local_time() -> datetime:
    """Return the current time in the time zone of the host."""
    return datetime.now().astimezone()


class Machine:
    """The hardware: the state that survives a power loss, and the power switch."""

    def __init__(
        self,
        root: Path,
        interrupt: Interrupt,
        storage: Storage | None = None,
        *,
        now: Callable[[], datetime] = local_time,
        random: Callable[[int], bytes] = os.urandom,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set up the machine in ``root``, which is made if missing, and lock it.

        Raises FilerError if the root cannot be used, and RootInUse if another filer runs on it.
        """
        self._root = Root.at(root)
        self._storage = storage or Storage()
        self._now = now
        self._random = random
        self._monotonic = monotonic
        self._interrupt = interrupt
        self._lock = RootLock(self._root, self._storage)
        self._service = ServiceLock(self._root.path)
        self._guarded = GuardedStorage(self._storage, self._service)
        self._pair: Pair | None = None
        self._paired_by: Hardware | None = None

    @property
    def interrupt(self) -> Interrupt:
        """The interrupt of the console."""
        return self._interrupt

    @property
    def giveback_wait(self) -> float:
        """Seconds for which the boot of a script waits for giveback."""
        return load_hardware(self._root.hardware, self._storage).giveback_wait

    def pair(self) -> Pair | None:
        """Return the HA pair that filer.toml describes, with its interconnect, or None.

        Raises FilerError.
        """
        self._root.examine()
        hardware = load_hardware(self._root.hardware, self._storage)
        if self._paired_by != hardware:
            self._leave_pair()
            self._paired_by = hardware
            if hardware.partner_root:
                self._pair = self._join_pair(hardware)
        return self._pair

    def _join_pair(self, hardware: Hardware) -> Pair:
        path, shelf = self._root.path, self._root.shelf
        if not shelf.exists():
            self._storage.make_directory(shelf)
        pair = Pair(path, shelf, hardware, self._service, storage=self._storage)
        try:
            pair.interconnect.start()
        except OSError as error:
            raise unusable(path, f"the interconnect cannot be opened: {error.strerror}") from None
        return pair

    def _lock_of_disks(self, hardware: Hardware) -> Path | None:
        """Return the lock file in a shelf outside the root, which a copy of the root would share.

        Raises StorageError.
        """
        shelf = self._root.shelf
        if os.path.normpath(hardware.directory) == OWN_SHELF:
            return None
        if not shelf.exists():
            self._storage.make_directory(shelf)
        return lock_of_disks(shelf, hardware.system_id)

    def _leave_pair(self) -> None:
        if self._pair is not None:
            self._pair.close()
            self._pair = None

    def power_on(
        self, unsaved: Mapping[str, str | None] | None = None, *, serves: bool = True
    ) -> Filer:
        """Return a filer with an empty keytable, and with every disk locked that has locking set.

        ``unsaved`` has the changes to the environment of LOADER that apply to this boot only.  It
        takes the service lock.  Not if a system with a partner does not ``serves``: its disks
        can only be read then.  Raises ServiceHeld while the partner has taken over this system,
        and FilerError if a file of the root is damaged, or if its disks are missing.
        """
        self._lock.check()
        pair = self.pair()
        serves = serves or pair is None
        marker = self._root.examine()
        described = load_hardware(self._root.hardware, self._storage)
        if serves:
            self._service.use(self._lock_of_disks(described))
            self._service.take()
            if pair:
                pair.is_up()
        loader = LoaderEnvironment(
            self._root.var / "loader.toml", self._storage, described.autoboot, unsaved
        )
        arguments = loader.boot_arguments()
        hardware = arguments.applied_to(described)
        clock = Clock(self._root.var / "clock.toml", self._storage, self._now)
        boot_device = BootDevice(self._root.var, self._storage)
        derivation = Derivation()
        shelf = Shelf(
            self._root.shelf, self._root.shelf_record, self._guarded, derivation, self._random
        )
        options = Options(self._root.registry, self._guarded)
        node = node_of(hardware, options)
        if serves:
            self._prepare_directories()
            shelf.populate(
                hardware.disks,
                hardware.disk_size,
                had_disks=marker.populated,
                shared=node.shares_shelf,
            )
            if not marker.populated:
                self._root.mark_populated(self._storage)
        shelf.load()
        shelf.power_on(lambda shelf: survey(shelf, node).own(shelf) if serves else ())
        return Filer(
            root=self._root,
            hardware=hardware,
            storage=self._guarded,
            boot_device=boot_device,
            registration=boot_device.load(),
            installed=Installed(self._root.installed_certificates, self._guarded),
            mroot=Mroot(self._root.mroot),
            messages=Messages(hardware.hostname, clock.now, hardware.system_id, clock.offset),
            derivation=derivation,
            shelf=shelf,
            clock=clock,
            now=clock.now,
            random=self._random,
            monotonic=self._monotonic,
            powered_on_by_host=self._now(),
            interrupt=self._interrupt,
            changes=ChangeLock(self._check),
            pair=pair,
            login=self._login(hardware),
            panics=Panics(self._root.var / "panics.toml", self._storage),
            loader=loader,
            boot_arguments=arguments,
            options=options,
        )

    def _login(self, hardware: Hardware) -> "Login | None":
        if not hardware.user:
            return None
        from filer.kmip.login import read_login

        return read_login(hardware.user, self._root.path / hardware.password_file)

    def _check(self) -> None:
        """Raise FilerError if another process may use the root, its root volume or its disks."""
        self._lock.check()
        if self._pair is None:
            self._service.check()

    def unplug(self) -> None:
        """Release the root.  Do not use the machine afterwards."""
        self._leave_pair()
        self._service.release()
        self._lock.release()

    def _prepare_directories(self) -> None:
        """Make the directories of the root, and clean up after an earlier run that was killed.

        It may have left temporary files, which may hold keys, and names that are in the host's
        cache only; these are made durable before anything relies on them.
        """
        for directory in self._root.directories:
            if directory == self._root.ssh and not directory.exists():
                continue  # made when it is needed
            if not directory.exists():
                self._storage.make_directory(directory)
            self._storage.settle(directory)
            self._storage.sweep(directory)


def boot(
    filer: Filer,
    notices: Notices,
    before_disks: Callable[[], None] = lambda: None,
    override: Override = never,
) -> None:
    """Bring the filer up: keys, disks, root aggregate, WAFL.

    Notices go to the system log too, once WAFL is up.  ``before_disks`` is called after kmip_init
    and before any disk is tried: the last moment to end a boot at no cost.  ``override`` is asked
    if the system ID has changed.  Raises BootAborted, or Panic, and counts it.
    """
    filer.interrupt.clear()
    _check_system_id(filer, override)
    before = filer.panics.in_a_row
    try:
        _boot(filer, Logged(filer.messages, notices), before_disks)
    except Panic:
        with suppress(StorageError):  # the panic matters more
            if filer.panics.in_a_row == before:
                filer.panics.add()
        raise
    with suppress(StorageError):
        filer.panics.clear()


def _boot(filer: Filer, notices: Notices, before_disks: Callable[[], None]) -> None:
    for damage in filer.shelf.warnings:
        notices.warning("disk.init.failure", damage)
    if filer.hardware.storage_encryption and filer.hardware.snaplock:
        raise Panic("PANIC: SnapLock and Storage Encryption cannot be used on the same system")
    if warning := filer.boot_arguments.warning:
        notices.warning("loader.environment", warning)
    holdings = kmip_init.load_keytable(filer, notices)
    before_disks()
    ownership = filer.ownership()
    _halt_without_key_server(filer, holdings, notices, ownership)
    held_back = _hold_back(filer, holdings, ownership)
    unlock_disks(filer, holdings, notices, ownership, held_back)
    aggregate = bring_online(filer.shelf, filer.node, partial(_not_recorded, notices), filer.random)
    if not aggregate.online:
        raise Panic(
            f"PANIC: raid: root aggregate {aggregate.name} cannot be brought online: "
            f"{aggregate.problem}"
        )
    filer.wafl_is_up = True
    with suppress(StorageError):  # the boot goes on; the log retries each line
        filer.messages.attach(filer.root.system_log, filer.storage)
    try:
        filer.options.values()
    except ConfigError as damage:
        notices.warning("options.damaged", f"{damage}; disks without an owner were not taken")
    try:
        claim(filer.shelf, aggregate.ownership)
    except StorageError as refusal:  # the next boot tries again
        notices.warning("disk.ownership.failure", f"the owner is not on every disk: {refusal}")
    own = aggregate.ownership.own(filer.shelf)
    try:
        filer.shelf.remember_disks(own)
        filer.shelf.remember_system(filer.hardware.system_id)
    except StorageError as refusal:  # the next boot tries again
        notices.warning("disk.record.failure", f"the disks are not recorded: {refusal}")
    if aggregate.degraded:
        text = f"{aggregate.name} is degraded: {aggregate.problem}"
        notices.warning("raid.aggr.degraded", text)
    notices.progress("raid.aggr.online", f"{len(own)} disks, {aggregate.name} online")


def _not_recorded(notices: Notices, refusal: StorageError, member: Disk | None) -> None:
    """Warn, and have a member replaced whose label cannot be written."""
    notices.warning("raid.label.failure", f"the root aggregate is not recorded: {refusal}")
    if member:
        with suppress(FilerError):
            member.mark(member.marks | Mark.PREFAILED)


def _check_system_id(filer: Filer, override: Override) -> None:
    """Raise BootAborted if the disks belong to an earlier system ID and are not taken over.

    The new system ID is recorded by the end of a boot, so an interrupted override is asked about
    again.
    """
    old, new = filer.shelf.record.system_id, filer.hardware.system_id
    if old in (0, new):
        return
    disks = filer.ownership().disks_of(old, filer.shelf)
    if not disks:
        return
    if not override(SystemIdMismatch(old, new, disks)):
        raise BootAborted(
            f"boot: the system ID stays as it is; set system_id = {old} in filer.toml, or boot at "
            "a terminal and answer y"
        )
    if pid := process_serving(filer.root.shelf, old):
        raise BootAborted(f"boot: process {pid} serves the disks of system {old}; end it first")
    filer.assign(disks, filer.node.owner)


def _halt_without_key_server(
    filer: Filer, holdings: Holdings, notices: Notices, ownership: Ownership
) -> None:
    """Raise NoKeyServer if kmip_init waited in vain for a key server, and a locked disk has no key.

    A real filer halts too: a panic and AUTOBOOT would use up the tries of the disks.
    """
    if (
        filer.boot_arguments.waits_for_key_server
        and kmip_init.is_asked_for(filer)
        and not (holdings.by_server or filer.interrupt.requested)
        and any(disk.key_id not in filer.keytable for disk in _to_unlock(filer, ownership))
    ):
        notices.warning("kmip.init.nokeys", "authentication keys might not be available")
        raise NoKeyServer("ERROR: kmip_init: halting this system with encrypted mroot...")


def _to_unlock(filer: Filer, ownership: Ownership) -> Iterator[Disk]:
    """Yield the own locked disks that a key would open, except those of doubtful ownership."""
    for disk in ownership.own(filer.shelf):
        is_closed = disk.destroyed or disk.locked_out or disk.serial in ownership.doubtful
        if disk.locked and not is_closed:
            yield disk


def _hold_back(filer: Filer, holdings: Holdings, ownership: Ownership) -> str | None:
    """Return why the MSID must not be tried on own locked disks whose key is unknown, or None.

    Disks of doubtful ownership do not count, since the MSID is never tried on them.  If the MSID
    may be tried, the panic that may follow is counted in advance: a boot that is killed in between
    has cost the disks a try all the same.
    """
    if all(
        disk.key_id in filer.keytable or holdings.withheld_by(disk.key_id)
        for disk in _to_unlock(filer, ownership)
    ):
        return None
    if filer.interrupt.requested:
        return "kmip_init was interrupted"
    if filer.panics.at_limit and (holdings.failures or not holdings.by_server):
        # An unreachable server may hold keys that a reachable one has lost.
        answering = "not every" if holdings.by_server else "no"
        return f"{filer.panics.in_a_row} panics in a row and {answering} key server answers"
    try:
        filer.panics.add()
    except StorageError as refusal:
        return str(refusal)
    return None


def power_off(filer: Filer) -> None:
    """Remove power: clear the keytable, and lock every disk that has locking set.

    A partner that was taken over loses its power at `stand_down`.
    """
    filer.messages.detach()
    filer.keytable.clear()
    filer.shelf.power_off()
    filer.derivation.clear()
    filer.wafl_is_up = False
