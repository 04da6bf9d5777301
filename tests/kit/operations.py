"""Every operation that changes what the filer keeps, and what must hold however it was interrupted.

A ``Laboratory`` does an ``Operation`` repeatedly, each time from the same root and key servers, and
``check`` powers the filer on and looks for losses.
"""

import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Self

from filer.boot.machine import Panic
from filer.boot.raid import Raid
from filer.commands import Leave
from filer.disks.disk import BLOCK_SIZE, Disk
from filer.disks.header import DATA_OFFSET, SLOT_OFFSETS, SLOT_SIZE
from filer.disks.record import Mark, Owner
from filer.keys.key_id import MSID_KEY_ID
from filer.registration.pem import CLIENT, CLIENT_PRIVATE
from filer.registration.registration import Registration
from filer.shell.plugins import (
    commands_at_loader,
    commands_in_boot_menu,
    commands_in_maintenance,
)
from filer.shell.session import FAILED
from tests.kit import faulty
from tests.kit.crash_model.tree import Tree
from tests.kit.faulty import FaultyKeyServer
from tests.kit.house import COMMANDS, SYSTEM_ID, House, Screen, settings
from tests.kit.points import Point
from tests.kit.repeated import repeated_beside
from tests.kit.wraps import wraps

MARKED_BLOCK = 7

Line = tuple[str, ...]
"""A command, and the answers to its questions; ``{files}`` is the directory of the certificates."""

CONSOLE, BOOT, LOADER, MAINTENANCE = "console", "boot", "LOADER", "maintenance mode"
BOOT_MENU = "boot menu"

_COMMANDS = {
    CONSOLE: COMMANDS,
    LOADER: commands_at_loader(),
    MAINTENANCE: commands_in_maintenance(),
    BOOT_MENU: commands_in_boot_menu(),
}

ADD_ONE: Line = ("key_manager add -key_server 127.0.0.2",)
ADD_BOTH: Line = ("key_manager add -key_server 127.0.0.2 -key_server 127.0.0.3",)
REKEY: Line = ("key_manager rekey",)
LOCK: Line = ("disk encrypt lock *",)
RELEASE: Line = ("disk assign 0c.00.3 -s unowned",)
SEALED = (ADD_BOTH, REKEY, LOCK)


@dataclass(frozen=True)
class Operation:
    """What is done, and the state it starts from.

    The filer has ``disks`` and ``system_id``, and has panicked ``panics`` times in a row.
    ``silent``: no key server answers, and the filer panics. ``erased``: the disks whose data are
    gone afterwards. ``twice``: the operation can be repeated. ``works``: the filer's work on its
    disks, in the background, belongs to it, and leaves a whole aggregate.
    """

    lines: tuple[Line, ...] = ()
    before: tuple[Line, ...] = ()
    at: str = CONSOLE
    certificates: bool = True
    disks: int = 4
    system_id: int = SYSTEM_ID
    panics: int = 0
    silent: bool = False
    erased: tuple[str, ...] = ()
    twice: bool = True
    works: bool = False

    def prepare(self, house: House) -> None:
        """Bring a filer to the start of the operation."""
        if self.at == CONSOLE:
            house.boot()
        elif self.at != BOOT:
            house.power_cycle()

    def act(self, house: House, files: Path) -> list[Screen]:
        """Run the lines. Raises what a boot raises."""
        if self.at == BOOT:
            try:
                house.boot()
            except Panic:
                if not self.silent:
                    raise
        done = []
        for line, *answers in self.lines:
            with suppress(Leave):  # an item of the boot menu goes on with the boot
                house.run(line.format(files=files), *answers, commands=_COMMANDS[self.at])
            done.append(house.screen)
        if self.works and (errors := work(house)):
            done.append(Screen(failures=errors, status=FAILED))
        return done


def work(house: House) -> list[str]:
    """Do what the filer does to its disks in the background; return the errors that it logs.

    A member that was prefailed because a sync failed may find no spare disk.
    """
    lines: list[str] = []
    Raid(house.filer, lines.append).work()
    return [line for line in lines if ":error]" in line and "recons.cantStart" not in line]


def _console(
    line: Line, before: tuple[Line, ...] = (), erased: tuple[str, ...] = (), twice: bool = True
) -> Operation:
    return Operation((line,), before, erased=erased, twice=twice)


def _working(*lines: Line, erased: tuple[str, ...] = ("0c.00.3",)) -> Operation:
    """Return an operation on a locked member, or on the spare that is ``erased``."""
    return Operation(lines, SEALED, erased=erased, twice=False, works=True)


_INSTALLED = (CLIENT, CLIENT_PRIVATE, "127.0.0.2_CA.pem", "127.0.0.3_CA.pem")

OPERATIONS: Mapping[str, Operation] = {
    "first boot": Operation(at=BOOT, certificates=False),
    "boot": Operation(at=BOOT, before=SEALED),
    "boot that finds new disks": Operation(at=BOOT, before=(ADD_BOTH,), disks=6),
    "boot that panics": Operation(at=BOOT, before=SEALED, silent=True),
    "boot with another system ID": Operation(at=BOOT, before=SEALED, system_id=77),
    "boot after panics": Operation(at=BOOT, before=(ADD_BOTH,), panics=3),
    "install": Operation(
        tuple((f"keymgr install cert '{{files}}/{name}'",) for name in _INSTALLED),
        certificates=False,
    ),
    "uninstall": _console(
        ("keymgr delete cert 127.0.0.3_CA.pem",), before=(ADD_BOTH,), twice=False
    ),
    "setup": _console(("key_manager setup", "127.0.0.2", "127.0.0.3", "q", "", "", "", "", "yes")),
    "setup again": _console(
        ("key_manager setup", "127.0.0.3", "q", "", "", "", "", "yes"), before=SEALED
    ),
    "add": _console(ADD_BOTH),
    "add another": _console(ADD_BOTH, before=(ADD_ONE, REKEY, LOCK)),
    "remove": _console(("key_manager remove -key_server 127.0.0.3",), before=SEALED, twice=False),
    "remove all": _console(
        ("key_manager remove -key_server 127.0.0.2 -key_server 127.0.0.3",),
        before=(ADD_BOTH, REKEY),
        twice=False,
    ),
    "first rekey": _console(REKEY, before=(ADD_BOTH,)),
    "rekey": _console(REKEY, before=SEALED),
    "lock": _console(LOCK, before=(ADD_BOTH, REKEY)),
    "back to the MSID": _console((f"disk encrypt rekey {MSID_KEY_ID} *",), before=SEALED),
    "sanitize": _console(
        ("disk encrypt sanitize -all", "sanitize disk"), SEALED, erased=("0c.00.3",)
    ),
    "release": _console(RELEASE, before=(ADD_BOTH,)),
    "assign": _console(("disk assign 0c.00.3",), before=(ADD_BOTH, RELEASE)),
    "assign to another system": _console(
        ("disk assign 0c.00.3 -o filer7 -s 77",), before=(ADD_BOTH, REKEY)
    ),
    "reassign in maintenance mode": Operation(
        (("disk reassign -s 77", "y"),),
        (ADD_BOTH, ("disk assign 0c.00.3 -s 77",)),
        at=MAINTENANCE,
        twice=False,
    ),
    "destroy": _console(
        ("disk encrypt destroy 0c.00.3", "destroy disk"), SEALED, erased=("0c.00.3",), twice=False
    ),
    "sanitize in maintenance mode": Operation(
        (("disk encrypt sanitize *", "sanitize disk"),),
        SEALED,
        at=MAINTENANCE,
        erased=("0c.00.0", "0c.00.1", "0c.00.2", "0c.00.3"),
    ),
    "initialize": Operation(
        (("4", "yes", "yes"),),
        SEALED,
        at=BOOT_MENU,
        erased=("0c.00.0", "0c.00.1", "0c.00.2", "0c.00.3"),
    ),
    "disk fail": _working(("disk fail -f 0c.00.1",)),
    "disk fail -i": _working(("disk fail -i -f 0c.00.1",)),
    "disk unfail": Operation(
        (("disk unfail 0c.00.1",),),
        (*SEALED, ("disk fail -f 0c.00.3",), ("disk fail -i -f 0c.00.1",)),
        twice=False,
    ),
    "disk zero spares": Operation(
        (("disk zero spares",),),
        (*SEALED, ("disk fail -f 0c.00.3",), ("disk unfail 0c.00.3",)),
        erased=("0c.00.3",),
        works=True,
    ),
    "kmip_setup": Operation(
        (("kmip_setup '{files}' 127.0.0.2 127.0.0.3", "", ""),),
        (ADD_ONE, REKEY, LOCK),
        at=LOADER,
    ),
    "setenv": Operation((("setenv AUTOBOOT true; savenv",),), at=LOADER),
    "options": _console(("options disk.auto_assign off",)),
    "date": _console(("date 203001010000",)),
    "restore": _console(("key_manager restore -all",), before=SEALED),
}


@dataclass(frozen=True)
class DiskState:
    """The state of a disk, and whether its data are those that were written.

    ``has_failed``: it is failed or prefailed. ``is_member``: it is in use in the root aggregate.
    """

    key_id: str
    locking: bool
    destroyed: bool
    owner: Owner
    has_failed: bool
    is_member: bool
    data: bool | None = None


@dataclass(frozen=True)
class Kept:
    """What a filer keeps over a power loss."""

    registration: Registration
    installed: Sequence[str]
    autoboot: bool
    options: Mapping[str, str]
    clock_was_set: bool
    disks: Mapping[str, DiskState]

    def without_data(self, erased: Collection[str] = ()) -> Self:
        """Return a copy that ignores whether the data are there.

        And whether ``erased`` disks are members: while the others are locked, they still are.
        """
        disks = {
            name: replace(state, data=None, is_member=state.is_member and name not in erased)
            for name, state in self.disks.items()
        }
        return replace(self, disks=disks)


def _as_failed(state: DiskState, other: DiskState) -> DiskState:
    """Return ``state``, as failed as ``other``."""
    return replace(state, has_failed=other.has_failed)


def look(house: House) -> Kept:
    """Return what a filer has in memory of what it keeps."""
    members = [each.in_use for each in house.filer.assembled().members]
    return Kept(
        house.filer.registration,
        house.filer.installed.names(),
        house.filer.loader.saved().get("AUTOBOOT") == "true",
        house.filer.options.values(),
        house.filer.clock.offset() != timedelta(),
        {
            disk.name: DiskState(
                disk.key_id,
                disk.locking,
                disk.destroyed,
                disk.owner,
                bool(disk.marks & (Mark.FAILED | Mark.PREFAILED)),
                disk in members,
            )
            for disk in house.disks
        },
    )


def look_at_data(house: House) -> Kept:
    """Return a copy that says whether the data are on the disks."""
    kept = look(house)
    return replace(
        kept,
        disks={
            name: replace(state, data=_data(house.filer.shelf[name]))
            for name, state in kept.disks.items()
        },
    )


def _data(disk: Disk) -> bool:
    return not disk.destroyed and disk.read_block(MARKED_BLOCK) == _mark(disk.name)


def _mark(name: str) -> bytes:
    return name.encode().ljust(BLOCK_SIZE, b".")


@dataclass(frozen=True)
class Scene:
    """A root, the stores of the key servers, and the random bytes used up, at one moment."""

    root: Path
    stores: Sequence[bytes]
    drawn: Counter[int]


@dataclass(frozen=True)
class Beginning:
    """The start of an operation: what the filer has kept, and every wrapped data key."""

    scene: Scene
    kept: Kept
    wraps: Mapping[str, Collection[bytes]]


class Laboratory:
    """Key servers, and a root in which operations are done; each restores what it needs."""

    def __init__(self, directory: Path, servers: Sequence[FaultyKeyServer]) -> None:
        self.servers = servers
        self.files = servers[0].directory
        self._directory = directory
        self._root = directory / "root"
        self._random = repeated_beside(self._root, servers)
        self._empty = self.stores()
        self._beginnings: dict[Operation, Beginning] = {}
        self._trials: dict[Operation, Trial] = {}

    def trial(self, operation: Operation) -> "Trial":
        """Return the trial of ``operation``, always the same object."""
        if operation not in self._trials:
            self._trials[operation] = Trial(self, operation, self._beginning(operation))
        return self._trials[operation]

    def put_back(self, scene: Scene) -> Path:
        """Return a root as it was in ``scene``, and restore the key servers."""
        self._start_with(scene.stores)
        self._random.position = Counter(scene.drawn)
        return _copy(scene.root, self._root)

    def put(self, tree: Tree, stores: Sequence[bytes]) -> Path:
        """Return a root that holds ``tree``, and restore the key servers to ``stores``."""
        self._start_with(stores)
        shutil.rmtree(self._root, ignore_errors=True)
        tree.store(self._root)
        return self._root

    def keep(self, name: str) -> Scene:
        """Save the current scene under ``name``."""
        drawn = Counter(self._random.position)
        return Scene(_copy(self._root, self._directory / name), self.stores(), drawn)

    def start(self) -> None:
        for server in self.servers:
            server.recover()

    def stop(self) -> None:
        for server in self.servers:
            server.stop()

    def stores(self) -> tuple[bytes, ...]:
        return tuple(server.store.read_bytes() for server in self.servers)

    def _start_with(self, stores: Sequence[bytes]) -> None:
        for server, store in zip(self.servers, stores, strict=True):
            if server.store.read_bytes() != store:
                faulty.put_store(server, store)
        self.start()

    def _beginning(self, operation: Operation) -> Beginning:
        """Return the start of ``operation``; operations that start alike share it."""
        at = BOOT if operation.at == BOOT and not operation.before else CONSOLE
        alike = replace(
            operation, lines=(), at=at, silent=False, erased=(), twice=True, works=False
        )
        if alike not in self._beginnings:
            name = f"beginning {len(self._beginnings)}"
            self._beginnings[alike] = self._prepared(alike, name)
        return self._beginnings[alike]

    def _prepared(self, operation: Operation, name: str) -> Beginning:
        root = self._root
        shutil.rmtree(root, ignore_errors=True)
        self._start_with(self._empty)
        if operation.at == BOOT:
            root.mkdir(mode=0o700)
        else:
            with House.build(root, self.servers) as house:
                for disk in house.disks:
                    disk.write_block(MARKED_BLOCK, _mark(disk.name))
                for line in operation.before:
                    house.must(*line)
            if not operation.certificates:
                shutil.rmtree(root / "mroot" / "etc" / "keymgr")
            (root / "var" / "panics.toml").write_text(f"in_a_row = {operation.panics}\n")
        text = settings(
            port=self.servers[0].port, disks=operation.disks, system_id=operation.system_id
        )
        (root / "filer.toml").write_text(text)
        scene = self.keep(name)
        present = {path.stem: wraps(path.read_bytes()) for path in root.glob("shelf/*.sed")}
        with House(root) as house:
            house.boot()
            return Beginning(scene, look_at_data(house), present)


def _copy(source: Path, copy: Path) -> Path:
    shutil.rmtree(copy, ignore_errors=True)
    return shutil.copytree(source, copy, symlinks=True)


@dataclass(eq=False)
class Trial:
    """An operation, its initial state, and its undisturbed result.

    ``crashes`` lists where it could crash.
    """

    laboratory: Laboratory
    operation: Operation
    beginning: Beginning
    after: Kept | None = None
    crashes: Sequence[Point] = ()

    def begin(self) -> Path:
        """Return a root in which the operation can start."""
        root = self.laboratory.put_back(self.beginning.scene)
        if self.operation.silent:
            self.laboratory.stop()
        return root

    def check(
        self,
        root: Path,
        *,
        done: bool = False,
        recovering: bool = False,
        settled: Kept | None = None,
        damaged: bool = False,
        refused: bool = False,
    ) -> Kept:
        """Power on, check that nothing is lost or half-made, and return what the filer has kept.

        ``done``: the operation reported success, so its result must be there. ``recovering``: a
        boot with all keys was killed too, which may have cost one disk an attempt. ``settled``:
        what an earlier boot has shown; its registration and disks stay. ``damaged``: a block was
        lost, so the boot may warn. ``refused``: a sync failed, so a member may be prefailed.
        """
        for claimed in (self.after if done else None, settled):
            if claimed:
                self._check_wraps(root, claimed)  # a disk can be stolen before the next boot
        self.laboratory.start()
        with House(root) as house:
            if self.operation.silent:
                # A killed boot still costs the disks an attempt.
                house.power_cycle()
                most = max(disk.failures for disk in house.disks)
                assert most <= house.filer.panics.in_a_row + recovering
            told = house.boot()
            # An erased member is not zeroed, and is rebuilt only once the filer is up.
            if any({Mark.FAILED, Mark.NOT_ZEROED} & set(disk.marks) for disk in house.disks):
                told.warnings = [each for each in told.warnings if "is degraded" not in each]
            assert told.warnings == [] or damaged
            assert not any(disk.locked for disk in house.disks if not disk.destroyed)
            assert house.filer.panics.in_a_row == 0
            if self.operation.works:
                assert work(house) == []
                assert not house.filer.assembled().degraded
            kept = look_at_data(house)
            if done and self.after is None:
                self.after = kept
            self._check_kept(kept, done=done, refused=refused)
            if settled:
                assert kept.registration == settled.registration
                for name, state in kept.disks.items():
                    known = settled.disks[name]
                    assert state == (_as_failed(known, state) if refused else known), name
            self._check_files(root, kept)
            faulty.check_that_no_key_is_lost_by(house, self.laboratory.servers)
        return kept

    def complete(self, root: Path) -> None:
        """Do the interrupted operation once more; it must succeed."""
        with House(root) as house:
            self.operation.prepare(house)
            for result in self.operation.act(house, self.laboratory.files):
                assert result.status == 0 or not self.operation.twice, result.text
                assert "internal error" not in result.text
            house.boot()
            faulty.check_that_no_key_is_lost_by(house, self.laboratory.servers)

    def _check_kept(self, kept: Kept, *, done: bool, refused: bool) -> None:
        before, after = self.beginning.kept, self.after
        assert after
        registrations = [after.registration]
        if not done:
            registrations += [before.registration, self._client_files_registered()]
        assert kept.registration in registrations
        assert kept.autoboot in ({after.autoboot} if done else {before.autoboot, after.autoboot})
        assert kept.options in ([after.options] if done else [before.options, after.options])
        assert kept.clock_was_set in (
            {after.clock_was_set} if done else {before.clock_was_set, after.clock_was_set}
        )
        installed, least = set(before.installed), set(after.installed)
        assert installed & least <= set(kept.installed) <= installed | least
        assert not done or set(kept.installed) == least
        assert kept.disks.keys() == after.disks.keys()
        for name, state in self._named_alike(kept).items():
            old, new = before.disks[name], self._named_alike(after)[name]
            rekeyed = replace(new, locking=old.locking)  # and not locked yet
            erased = replace(new, is_member=False)  # while the other members still are in step
            allowed = [new] if done else [old, rekeyed, new, erased]
            assert state in ([_as_failed(each, state) for each in allowed] if refused else allowed)
            assert new.data == (old.data and name not in self.operation.erased)

    def _client_files_registered(self) -> Registration:
        """Return what setup has registered when it asks its first question."""
        before = self.beginning.kept.registration
        if "setup" not in str(self.operation.lines) or before.servers:
            return before
        files = {name: (self.laboratory.files / name).read_bytes() for name in _INSTALLED[:2]}
        return before._replace(certificates=files)

    def _named_alike(self, kept: Kept) -> Mapping[str, DiskState]:
        """Return the disks with "new" for each key ID that the operation made."""
        known = {MSID_KEY_ID, *(state.key_id for state in self.beginning.kept.disks.values())}
        return {
            name: state if state.key_id in known else replace(state, key_id="new")
            for name, state in kept.disks.items()
        }

    def _check_files(self, root: Path, kept: Kept) -> None:
        for name in kept.installed:
            installed = root / "mroot" / "etc" / "keymgr" / "cert" / name
            assert installed.read_bytes() == (self.laboratory.files / name).read_bytes()
        # Leftovers in /var/kmip and in the shelf are gone.
        assert len(list((root / "var").glob("kmip.*"))) <= 1
        assert not list(root.rglob(".new-*"))
        for name in kept.disks:
            path = root / "shelf" / f"{name}.sed"
            head = path.read_bytes()[:DATA_OFFSET]
            slots = [head[offset : offset + SLOT_SIZE] for offset in SLOT_OFFSETS]
            assert sum(map(any, slots)) == 1, f"{name}: an older header is left"
        self._check_wraps(root, kept)

    def _check_wraps(self, root: Path, kept: Kept) -> None:
        for name, state in kept.disks.items():
            before = self.beginning.kept.disks.get(name, state)
            same_use = replace(
                state,
                owner=before.owner,
                has_failed=before.has_failed,
                is_member=before.is_member,
                data=before.data if self.operation.works else state.data,
            )
            if same_use != before:
                data = (root / "shelf" / f"{name}.sed").read_bytes()
                for wrap in self.beginning.wraps.get(name, ()):
                    assert wrap not in data, f"{name}: an older wrap is left"
