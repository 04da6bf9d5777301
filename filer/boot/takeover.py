"""Takeover and giveback: the disks and the root volume of the partner, served by this system.

Order of a takeover: the partner's service lock; then the keys, of which none is tried before all
are there; then the disks; then the root volume.  A crash at any point frees the lock, and a new
takeover, or a boot of the partner, begins anew.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from filer.boot.notices import Logged, Notices
from filer.boot.unlock import unlock_disks
from filer.config import Hardware
from filer.disks.aggregate import assemble
from filer.disks.derivation import Derivation
from filer.disks.disk import Disk
from filer.disks.ownership import survey
from filer.disks.repair import Repairs
from filer.disks.shelf import Shelf
from filer.host.durable import StorageError
from filer.host.errors import FilerError
from filer.host.text import listed
from filer.host.toml_file import ConfigError
from filer.key_servers.holdings import Holdings
from filer.keys.key_id import MSID_KEY_ID
from filer.keys.keytable import Keytable
from filer.mroot.system_log import Messages
from filer.mroot.volume import Mroot
from filer.options import Options
from filer.pair.mailbox import State
from filer.pair.pair import Pair
from filer.pair.service import GuardedStorage
from filer.registration.installed import Installed
from filer.root import Root
from filer.system import Filer, node_of


class TakeoverFailed(FilerError):
    """The partner was not taken over, and this system goes on as before."""


class MovingAlready(FilerError):
    """A takeover or a giveback is running."""


def take_over(filer: Filer, pair: Pair, notices: Notices, reason: str) -> None:
    """Take the partner's service lock, open its disks, and bring its root volume up.

    A disk costs one try at most, and none unless the keys of all are known.  Raises ServiceHeld
    while the partner's process serves its disks, MovingAlready, or TakeoverFailed.
    """
    if not pair.moving.acquire(blocking=False):
        raise MovingAlready("a takeover or a giveback is running")
    try:
        if filer.partner:
            return
        pair.service.check()
        _refuse_before_first_boot(pair)
        pair.other_service.take()
        try:
            pair.is_up(State.TAKEOVER)
            if pair.problem:
                filer.messages.log("cf.mailbox.failure", "error", f"Mailbox: {pair.problem}")
            partner = _partner(filer, pair)
            _open(filer, partner, notices)
        except BaseException:
            pair.other_service.release()
            pair.is_up()
            raise
        pair.reason = reason
        partner.keytable = filer.keytable
        filer.partner = partner
        filer.messages.hostname = f"{filer.hardware.hostname} (takeover)"
    finally:
        pair.moving.release()


def give_back(filer: Filer, pair: Pair) -> None:
    """Take power off the partner's disks, and release its service lock.

    Raises MovingAlready.
    """
    if not pair.moving.acquire(blocking=False):
        raise MovingAlready("a takeover or a giveback is running")
    try:
        if filer.partner:
            pair.is_up()
            with suppress(ConfigError):  # the partner writes its mailbox again when it boots
                if message := pair.other_mailbox.read():
                    pair.dealt_with = message.generation
            _release_partner(filer, pair)
    finally:
        pair.moving.release()


def stand_down(filer: Filer, state: State) -> None:
    """Release the service locks of a system that was powered off, and of a partner it has.

    ``state`` is why, for its mailbox.
    """
    if filer.pair:
        with filer.pair.moving:  # a takeover that is running ends first; none begins any more
            _release_partner(filer, filer.pair)
            filer.pair.goes_down(state)


def _release_partner(filer: Filer, pair: Pair) -> None:
    partner, filer.partner = filer.partner, None
    if partner:
        filer.messages.hostname = filer.hardware.hostname
        partner.messages.detach()
        partner.shelf.power_off()
        partner.derivation.clear()
        partner.wafl_is_up = False
    pair.other_service.release()


def missing_keys(filer: Filer) -> Mapping[str, Sequence[str]]:
    """Return the key IDs of the partner's disks that are not in the keytable, with the disks."""
    ownership = filer.ownership()
    partners = [disk for disk in filer.shelf if ownership.is_partners(disk)]
    return _missing(partners, filer.keytable)


def prepare(filer: Filer, pair: Pair) -> None:
    """Load the keys of the partner's disks that are missing.

    Raises TakeoverFailed if some stay missing, if no disk is the partner's, or if the systems
    disagree on their IDs: a partner that is up should not go down in vain.
    """
    partner = _hardware(filer, pair)
    _refuse_before_first_boot(pair)
    ownership = filer.ownership()
    if not any(map(ownership.is_partners, filer.shelf)):
        raise TakeoverFailed(f"no disk belongs to {partner.hostname}, system {partner.system_id}")
    if missing := missing_keys(filer):
        _ask_once_more(filer, missing)
        _refuse(missing_keys(filer))


def _refuse_before_first_boot(pair: Pair) -> None:
    if not Root.at(pair.partner_root).examine().populated:
        raise TakeoverFailed(f"{pair.partner_name} has not booted yet, and has no disks")


def _refuse(missing: Mapping[str, Sequence[str]]) -> None:
    if missing:
        disks = "; ".join(f"{key_id} of {listed(names)}" for key_id, names in missing.items())
        raise TakeoverFailed(
            f"takeover refused: no key for key ID {disks}; no key was tried, and nothing was "
            "changed; run key_manager restore -all when the key servers answer; if they do, "
            "compare the key servers and client certificates of both nodes"
        )


def _missing(disks: Sequence[Disk], keytable: Keytable) -> Mapping[str, Sequence[str]]:
    missing: dict[str, list[str]] = {}
    for disk in disks:
        is_lost = disk.destroyed or disk.locked_out
        if disk.locking and not is_lost and disk.key_id not in (MSID_KEY_ID, *_ids(keytable)):
            missing.setdefault(disk.key_id, []).append(disk.name)
    return missing


def _ids(keytable: Keytable) -> Sequence[str]:
    return [entry.key_id for entry in keytable]


def _partner(filer: Filer, pair: Pair) -> Filer:
    """Return the partner with its disks, as after power-on.  Its boot device is not used."""
    hardware = _hardware(filer, pair)
    root = Root.at(pair.partner_root)
    root.examine()
    storage = GuardedStorage(filer.storage, pair.other_service)
    derivation = Derivation()
    shelf = Shelf(filer.root.shelf, None, storage, derivation, filer.random)
    options = Options(root.registry, storage)
    node = node_of(hardware, options)
    shelf.load()
    shelf.power_on(lambda shelf: survey(shelf, node).own(shelf))
    keytable = Keytable()
    keytable.add(filer.keytable)
    return replace(
        filer,
        root=root,
        hardware=hardware,
        storage=storage,
        installed=Installed(root.installed_certificates, storage),
        mroot=Mroot(root.mroot),
        messages=Messages(hardware.hostname, filer.now, hardware.system_id, filer.clock.offset),
        derivation=derivation,
        shelf=shelf,
        options=options,
        keytable=keytable,
        wafl_is_up=False,
        repairs=Repairs(),
        pair=None,
        partner=None,
        served_by=filer.hardware.hostname,
    )


def _hardware(filer: Filer, pair: Pair) -> Hardware:
    own, partner = filer.hardware, pair.partner_hardware
    if partner is None:
        raise TakeoverFailed(f"filer.toml of {pair.partner_name} cannot be read")
    if (partner.system_id, partner.partner_id) != (own.partner_id, own.system_id):
        raise TakeoverFailed(f"filer.toml of {partner.hostname} has other system IDs")
    return partner._replace(storage_encryption=own.storage_encryption, timeout=own.timeout)


def _open(filer: Filer, partner: Filer, notices: Notices) -> None:
    name = partner.hardware.hostname
    ownership = partner.ownership()
    own = ownership.own(partner.shelf)
    if missing := _missing(own, partner.keytable):
        _ask_once_more(filer, missing)
        partner.keytable.add(filer.keytable)
        _refuse(_missing(own, partner.keytable))
    unlock_disks(partner, Holdings({}, {}), Logged(partner.messages, notices), ownership, None)
    aggregate = assemble(partner.shelf, partner.node)
    if not aggregate.online:
        raise TakeoverFailed(
            f"the root aggregate {aggregate.name} of {name} cannot be brought online: "
            f"{aggregate.problem}"
        )
    partner.wafl_is_up = True
    with suppress(StorageError):  # the log tries each line again
        partner.messages.attach(partner.root.system_log, partner.storage)


def _ask_once_more(filer: Filer, wanted: Mapping[str, object]) -> None:
    """Load the ``wanted`` key IDs from the key servers into the keytable."""
    if filer.registration.servers:
        found = filer.key_servers().fetch(wanted.keys()).ranking.entries
        filer.keytable.add(found[key_id] for key_id in wanted if key_id in found)
