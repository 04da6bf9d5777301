"""Whatever disks come and go, the root aggregate has the data that was written last.

A property of all histories: members fail, are pulled and return, are replaced by this system or by
its partner during a takeover, the boot device is lost, and all disks are erased.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from filer.disks.aggregate import POSITIONS, Aggregate, assemble, bring_online, make_root
from filer.disks.derivation import Derivation
from filer.disks.disk import BLOCK_SIZE
from filer.disks.label import LABEL_BLOCK
from filer.disks.ownership import Node, claim
from filer.disks.record import NO_MARKS, Mark
from filer.disks.repair import Rebuild, replacement
from filer.disks.shelf import Shelf
from filer.host.durable import Storage
from tests.kit.points import ALL

NODE, OTHER = Node(1573922407), Node(77)
DISKS = 7
BAYS = [f"0c.00.{bay}" for bay in range(DISKS)]
MEMBERS = st.permutations(range(3)).flatmap(
    lambda order: st.integers(0, 3).map(lambda count: order[:count])
)
"""Some of the members, in any order."""

WAYS = st.sampled_from(["fail", "unfail", "pull"])
BLOCK = 2
"""The block that has the number of the last write."""


class Histories(RuleBasedStateMachine):
    """A shelf with spares; ``written`` is the number of the last write to the aggregate."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = TemporaryDirectory()
        self.root = Path(self._directory.name)
        for name in ("shelf", "pulled", "var"):
            (self.root / name).mkdir()
        self.written = 0
        self.node = NODE
        self.shelf = self._shelf(self.root / "var" / "shelf.toml")
        self.shelf.populate(DISKS, 4 * BLOCK_SIZE)

    def teardown(self) -> None:
        self.shelf.power_off()
        self._directory.cleanup()

    def _shelf(self, record: Path | None) -> Shelf:
        return Shelf(self.root / "shelf", record, Storage(), Derivation())

    @initialize()
    def first_boot(self) -> None:
        self._boot()
        self._write()

    @rule(bay=st.sampled_from(BAYS))
    def pull(self, bay: str) -> None:
        """Pull a drive, unless the aggregate would go offline."""
        disk, aggregate = self.shelf.disks.get(bay), self._found()
        if disk and not (aggregate.needs(disk) or disk.serial in aggregate.erased):
            disk.path.rename(self.root / "pulled" / disk.path.name)
            self.shelf.look_again()
            self._check()

    @rule(bay=st.sampled_from(BAYS))
    def insert(self, bay: str) -> None:
        """Insert the drive that was pulled from a bay."""
        pulled = self.root / "pulled" / f"{bay}.sed"
        if pulled.exists():
            pulled.rename(self.root / "shelf" / pulled.name)
            self.shelf.look_again()
            self._check()

    @rule(bay=st.sampled_from(BAYS))
    def fail(self, bay: str) -> None:
        """Fail a disk at once, as ``disk fail -i`` does."""
        disk = self.shelf.disks.get(bay)
        if disk and not self._found().needs(disk):
            disk.mark(disk.marks | Mark.FAILED | Mark.NOT_ZEROED)

    @rule(bay=st.sampled_from(BAYS))
    def unfail(self, bay: str) -> None:
        """Use a failed disk again, as ``disk unfail`` does."""
        disk = self.shelf.disks.get(bay)
        if disk and Mark.FAILED in disk.marks:
            if disk.serial not in {each.serial for each in self._found().members}:
                disk.zero_blocks(range(LABEL_BLOCK, LABEL_BLOCK + 1))
            disk.mark(disk.marks & ~Mark.FAILED)

    @rule(members=MEMBERS, way=WAYS)
    def replace(self, members: Sequence[int], way: str) -> None:
        """Replace members, one after the other, and write; failed ones may be used again."""
        replaced = []
        for number in members:
            self._replace_lost()
            disk = self._found().members[number].disk
            if disk:
                replaced.append(disk.name)
                self.pull(disk.name) if way == "pull" else self.fail(disk.name)
        self._replace_lost()
        if way == "unfail":
            for bay in replaced:
                self.unfail(bay)
        self._write()

    @rule()
    def reboot(self) -> None:
        self._boot()

    @precondition(lambda self: not self._found().erased)
    @rule()
    def lose_the_boot_device(self) -> None:
        (self.root / "var" / "shelf.toml").unlink()
        self._boot()

    @rule(members=MEMBERS, way=WAYS)
    def take_over_and_give_back(self, members: Sequence[int], way: str) -> None:
        """Have the partner serve the disks meanwhile; it has no record of the shelf."""
        own = self.shelf
        own.power_off()
        self.shelf = self._shelf(None)
        self._power_on()
        self._check()
        self.replace(members, way)
        self.shelf.power_off()
        self.shelf = own
        self._boot()

    @rule(stays=st.sampled_from(BAYS), members=MEMBERS, way=WAYS)
    def lend_to_another_system(self, stays: str, members: Sequence[int], way: str) -> None:
        """Let it have all disks but one, and replace members, before they come home.

        Not while members are erased, or a drive of an aggregate from before an erasure is here: the
        other system has no record, and cannot know an old label.
        """
        left, found = self.shelf.disks.get(stays), self._found()
        labels = found.ownership.labels.values()
        if found.erased or any(
            label and label.uuid != found.ownership.root.uuid for label in labels
        ):
            return
        if not left or found.needs(left):
            stays = ""
        self._give(OTHER, stays)
        own = self.shelf
        own.power_off()
        record = self.root / "var" / "other.toml"
        record.unlink(missing_ok=True)
        self.shelf, self.node = self._shelf(record), OTHER
        self._power_on()
        self._check(bring_online(self.shelf, OTHER))
        self.replace(members, way)
        self._give(NODE, stays)
        self.shelf.power_off()
        self.shelf, self.node = own, NODE
        self._boot()

    def _give(self, node: Node, stays: str) -> None:
        """Give a system all disks but one, and the one that stays to this system."""
        for disk in self.shelf:
            disk.assign(NODE.owner if disk.name == stays else node.owner)

    @rule(number=st.integers(0, 2))
    def zero_elsewhere(self, number: int) -> None:
        """Put back a member that another system has zeroed."""
        disk = self._found().members[number].disk
        if disk and not self._found().needs(disk):
            self.shelf.power_off()
            self._power_on()
            disk = self.shelf[disk.name]
            disk.zero_blocks(range(disk.blocks))
            disk.mark(NO_MARKS)
            self._boot()

    @rule(numbers=MEMBERS)
    def erase_members(self, numbers: Sequence[int]) -> None:
        """Sanitize members in maintenance mode, but not the last one with data, and boot."""
        for number in numbers:
            aggregate = self._found()
            disk = aggregate.members[number].disk
            if disk and len(aggregate.readable) > 1:
                disk.sanitize()
        self._boot()

    @precondition(lambda self: not self._misses_a_member())
    @rule()
    def erase_everything(self) -> None:
        """Sanitize all disks that are here, as in maintenance mode, and boot."""
        self._erase()
        self._boot(is_empty=True)

    @precondition(lambda self: len(self._found().ownership.own(self.shelf)) >= len(POSITIONS))
    @rule()
    def initialize_everything(self) -> None:
        """Do the same by item 4 of the boot menu, also while a member is away."""
        self._erase()
        make_root(self.shelf, NODE, self._found().ownership.own(self.shelf), os.urandom)
        self._boot(is_empty=True)

    def _misses_a_member(self) -> bool:
        return any(each.disk is None for each in self._found().members)

    def _erase(self) -> None:
        for disk in self._found().ownership.own(self.shelf):
            disk.sanitize()
            disk.mark(disk.marks & ~Mark.FAILED)

    def _power_on(self) -> None:
        self.shelf.load()
        self.shelf.power_on()

    def _boot(self, *, is_empty: bool = False) -> None:
        self.shelf.power_off()
        self._power_on()
        found = bring_online(self.shelf, NODE)
        claim(self.shelf, found.ownership)
        self.shelf.remember_disks(found.ownership.own(self.shelf))
        if is_empty:
            self._write()
        self._check()

    def _found(self) -> Aggregate:
        return assemble(self.shelf, self.node)

    def _replace_lost(self) -> None:
        """Replace lost members as long as there are spares."""
        aggregate = self._found()
        while (due := replacement(aggregate)) and due.spare:
            rebuild = Rebuild(aggregate, due.member, due.spare, self.shelf)
            while not rebuild.work():
                pass
            aggregate = self._found()

    def _write(self) -> None:
        """Write to all members, if they are there: one that is away would not be in step."""
        aggregate = self._found()
        assert aggregate.online
        if not aggregate.degraded:
            self.written += 1
            for member in aggregate.readable:
                assert member.disk
                member.disk.write_block(BLOCK, self._content)

    def _check(self, found: Aggregate | None = None) -> None:
        aggregate = found or self._found()
        assert aggregate.online
        for member in aggregate.readable:
            assert member.disk
            assert member.disk.read_block(BLOCK) == self._content

    @property
    def _content(self) -> bytes:
        return self.written.to_bytes(2, "big") * (BLOCK_SIZE // 2)


TestHistories = pytest.mark.timeout(600)(Histories.TestCase)
TestHistories.settings = settings(
    max_examples=400 if ALL else 25, stateful_step_count=30, deadline=None
)
