"""The root aggregate: created once, recognised by its labels, online with two of three members."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.disks.aggregate import (
    POSITIONS,
    Aggregate,
    assemble,
    bring_online,
    make_root,
)
from filer.disks.derivation import Derivation
from filer.disks.header import BLOCK_SIZE
from filer.disks.label import UUID_SIZE, Label
from filer.disks.ownership import Node
from filer.disks.shelf import Shelf
from filer.host.durable import Storage
from filer.keys.authentication_key import MSID, AuthenticationKey
from tests.kit.disk_files import set_failures
from tests.kit.faulty import CrashingStorage, PowerLoss, lose_power

SYSTEM = 1573922407
NODE = Node(SYSTEM)
OTHER_SYSTEM = 1573922311
KEY_ID = "5DD026075DD026670101000000000000A948EE8604F4598ADFFB185B5BB7FED3"
"""Names both systems, as key IDs of partners do."""
FOREIGN_KEY_ID = "0000004D000000000100000000000000A948EE8604F4598ADFFB185B5BB7FED3"
KEY = AuthenticationKey(b"the only Passphrase, 1")
MEMBERS = ("0c.00.0", "0c.00.1", "0c.00.2")


@pytest.fixture
def shelf(tmp_path: Path, derivation: Derivation) -> Shelf:
    """Five factory-new disks."""
    return powered(tmp_path, derivation)


def powered(root: Path, derivation: Derivation, count: int = 5) -> Shelf:
    for name in ("shelf", "var"):
        (root / name).mkdir(parents=True, exist_ok=True)
    shelf = Shelf(root / "shelf", root / "var" / "shelf.toml", Storage(), derivation)
    shelf.populate(count, 4 * BLOCK_SIZE)
    restart(shelf)
    return shelf


def restart(shelf: Shelf) -> None:
    shelf.power_off()
    shelf.load()
    shelf.power_on()


def lock(shelf: Shelf, *names: str, key_id: str = KEY_ID) -> None:
    """Lock the disks (default: all), and interrupt the power."""
    for disk in [shelf[name] for name in names] or list(shelf):
        disk.rekey(MSID, key_id, KEY)
        disk.lock(KEY)
    restart(shelf)


def roles(aggregate: Aggregate, shelf: Shelf) -> list[str]:
    return [aggregate.role(disk) for disk in shelf]


def names(aggregate: Aggregate) -> tuple[str | None, ...]:
    return tuple(member.disk.name if member.disk else None for member in aggregate.members)


# labels

labels = st.builds(
    Label,
    st.integers(1, 2**32 - 1),
    st.sampled_from(["aggr0", "aggr1"]),
    st.lists(
        st.text("0123456789ABCDEFXYZ", min_size=1, max_size=16), min_size=3, max_size=3, unique=True
    ).map(tuple),
    st.integers(1, 2**64),
    st.just("") | st.binary(min_size=UUID_SIZE, max_size=UUID_SIZE).map(bytes.hex),
)


@given(labels)
def test_a_label_survives_packing(label: Label) -> None:
    block = label.pack()
    assert len(block) == BLOCK_SIZE
    assert Label.parse(block) == label


@given(st.one_of(st.binary(), st.binary(min_size=BLOCK_SIZE, max_size=BLOCK_SIZE)))
def test_any_block_is_no_label(block: bytes) -> None:
    assert Label.parse(block) is None


@given(labels, st.integers(0, BLOCK_SIZE * 8 - 1))
def test_a_flipped_bit_is_noticed(label: Label, bit: int) -> None:
    block = bytearray(label.pack())
    block[bit // 8] ^= 1 << bit % 8
    assert Label.parse(bytes(block)) is None


def sealed(body: bytes) -> bytes:
    body = body.ljust(BLOCK_SIZE - 32, b"\0")
    return body + hashlib.sha256(body).digest()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "magic": st.just("filer raid label") | json_values,
        "system_id": st.just(1) | json_values,
        "aggregate": st.just("aggr0") | json_values,
        "members": st.just(["A", "B", "C"]) | json_values,
        "generation": st.just(1) | json_values,
        "uuid": st.just("0" * 32) | json_values,
    },
)


@given(st.one_of(fields, json_values))
def test_any_json_is_a_label_or_not(value: object) -> None:
    body = json.dumps(value).encode()[: BLOCK_SIZE - 32]
    label = Label.parse(sealed(body))
    assert label is None or isinstance(label, Label)


@pytest.mark.parametrize(
    "body", [b"", b"[" * 4000, b"1" * 4000, b"\xff", b"{}", b'{"members": 1'], ids=repr
)
def test_hostile_text_is_no_label(body: bytes) -> None:
    assert Label.parse(sealed(body)) is None


@pytest.mark.parametrize("system", [0, -1, 2**32, 10**3900])
def test_a_label_has_a_system_id_of_32_bits(system: int) -> None:
    assert Label.parse(Label(system, "aggr0", ("A", "B", "C")).pack()) is None


def test_members_must_differ() -> None:
    assert Label.parse(Label(1, "aggr0", ("A", "A", "B")).pack()) is None


# the first boot


def test_the_first_boot_makes_aggr0(shelf: Shelf) -> None:
    before = assemble(shelf, NODE)
    assert (before.online, before.members, roles(before, shelf)) == (False, (), ["spare"] * 5)
    made = bring_online(shelf, NODE)
    assert made.name == "aggr0"
    assert (made.online, made.locked, made.total) == (True, 0, 3)
    assert names(made) == MEMBERS
    assert [member.position for member in made.members] == list(POSITIONS)
    assert roles(made, shelf) == ["dparity", "parity", "data", "spare", "spare"]
    restart(shelf)
    raw = [disk.path.read_bytes() for disk in shelf]
    found = bring_online(shelf, NODE)
    assert (found.online, names(found)) == (True, MEMBERS)
    assert [disk.path.read_bytes() for disk in shelf] == raw


def test_the_label_is_under_the_encryption(shelf: Shelf) -> None:
    bring_online(shelf, NODE)
    disk = shelf["0c.00.0"]
    assert b"aggr0" in disk.read_block(0)
    raw = disk.path.read_bytes()
    assert b"aggr0" not in raw
    assert b"system_id" not in raw


def test_two_disks_are_too_few(tmp_path: Path, derivation: Derivation) -> None:
    shelf = powered(tmp_path, derivation, count=2)
    found = bring_online(shelf, NODE)
    assert (found.online, found.problem) == (False, "0 of 2 disks locked")
    assert roles(found, shelf) == ["spare", "spare"]


@pytest.mark.parametrize("moment", ["before", "torn 1", "after"])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_first_boot_that_crashed_is_finished_by_the_next(
    tmp_path: Path, shelf: Shelf, derivation: Derivation, at: int, moment: str
) -> None:
    storage = CrashingStorage(lose_power)
    storage.arm(at, moment)
    crashing = Shelf(tmp_path / "shelf", tmp_path / "var" / "shelf.toml", storage, derivation)
    restart(crashing)
    with pytest.raises(PowerLoss):
        bring_online(crashing, NODE)
    restart(shelf)
    found = bring_online(shelf, NODE)
    assert (found.online, names(found)) == (True, MEMBERS)
    label = Label.parse(shelf["0c.00.0"].read_block(0))
    assert label is not None
    assert {shelf[name].read_block(0) for name in MEMBERS} == {label.pack()}
    assert shelf.record.aggr0 == label.composition


# locked disks


@pytest.mark.parametrize(
    ("locked", "online", "problem"),
    [
        (("0c.00.0",), True, "1 of 3 disks locked"),
        (("0c.00.0", "0c.00.2"), False, "2 of 3 disks locked"),
        (MEMBERS, False, "3 of 3 disks locked"),
        (("0c.00.3", "0c.00.4"), True, "0 of 3 disks locked"),
        ((), False, "3 of 3 disks locked"),
    ],
)
def test_two_of_three_must_be_readable(
    shelf: Shelf, locked: tuple[str, ...], online: bool, problem: str
) -> None:
    bring_online(shelf, NODE)
    lock(shelf, *locked)
    found = bring_online(shelf, NODE)
    assert (found.online, found.problem, found.total) == (online, problem, 3)
    assert names(found) == MEMBERS
    for disk in shelf:
        if disk.locked:
            disk.authenticate(KEY)
    assert assemble(shelf, NODE).online


def test_a_locked_disk_that_no_label_names_is_unknown(shelf: Shelf) -> None:
    bring_online(shelf, NODE)
    lock(shelf, "0c.00.1", "0c.00.3")
    found = bring_online(shelf, NODE)
    assert roles(found, shelf) == ["dparity", "parity", "data", "unknown", "spare"]
    shelf["0c.00.3"].authenticate(KEY)
    assert assemble(shelf, NODE).role(shelf["0c.00.3"]) == "spare"


def test_a_locked_out_spare_is_a_spare(shelf: Shelf) -> None:
    bring_online(shelf, NODE)
    lock(shelf, "0c.00.1", "0c.00.3")
    for name in ("0c.00.1", "0c.00.3"):
        set_failures(shelf[name].path, 1024)
    restart(shelf)
    found = assemble(shelf, NODE)
    assert roles(found, shelf) == ["dparity", "parity", "data", "spare", "spare"]


def test_without_a_record_the_labels_tell(tmp_path: Path, shelf: Shelf) -> None:
    bring_online(shelf, NODE)
    serials = shelf.record.aggr0
    lock(shelf, "0c.00.0")
    (tmp_path / "var" / "shelf.toml").unlink()
    found = bring_online(shelf, NODE)
    assert (found.online, found.locked) == (True, 1)
    assert shelf.record.aggr0 == serials


def test_nothing_is_made_while_a_locked_disk_may_hold_the_aggregate(
    tmp_path: Path, shelf: Shelf, derivation: Derivation
) -> None:
    bring_online(shelf, NODE)
    lock(shelf)
    (tmp_path / "var" / "shelf.toml").unlink()
    shelf = powered(tmp_path, derivation, count=9)
    raw = [disk.path.read_bytes() for disk in shelf]
    found = bring_online(shelf, NODE)
    assert (found.online, found.problem) == (False, "5 of 9 disks locked")
    assert roles(found, shelf) == ["unknown"] * 5 + ["spare"] * 4
    assert [disk.path.read_bytes() for disk in shelf] == raw


def test_nothing_is_made_while_a_locked_disk_has_the_key_of_another_system(
    tmp_path: Path, shelf: Shelf, derivation: Derivation
) -> None:
    """It may be our own, from before a change of the system ID."""
    bring_online(shelf, NODE)
    lock(shelf, key_id=FOREIGN_KEY_ID)
    for without_record in (False, True):
        if without_record:
            (tmp_path / "var" / "shelf.toml").unlink()
        shelf = powered(tmp_path, derivation, count=9)
        found = bring_online(shelf, NODE)
        assert (found.online, found.members) == (False, ())
        assert found.problem == "0 of 4 disks locked, 5 of another system"
        assert roles(found, shelf) == ["foreign"] * 5 + ["spare"] * 4


def test_a_member_that_comes_back_with_the_label_of_another_system_is_a_member_no_more(
    shelf: Shelf,
) -> None:
    bring_online(shelf, NODE)
    back = shelf["0c.00.0"]
    back.write_block(0, Label(7, "aggr0", (back.serial, "OTHER1", "OTHER2")).pack())
    lock(shelf, "0c.00.1")
    found = bring_online(shelf, NODE)
    assert names(found) == (None, "0c.00.1", "0c.00.2")
    assert (found.online, roles(found, shelf)[0]) == (False, "foreign")
    assert found.problem == "1 of 3 disks locked, 1 missing, 1 of another system"


def test_the_label_of_another_disk_is_no_evidence_against_the_key_of_this_system(
    shelf: Shelf,
) -> None:
    """Serial numbers are public, so a forged label can claim our disks."""
    bring_online(shelf, NODE)
    lock(shelf, "0c.00.0", "0c.00.3")
    claimed = tuple(shelf[name].serial for name in ("0c.00.0", "0c.00.3", "0c.00.1"))
    shelf["0c.00.4"].write_block(0, Label(7, "aggr0", claimed).pack())
    found = bring_online(shelf, NODE)
    assert roles(found, shelf) == [*POSITIONS, "unknown", "foreign"]


# disks that come and go


def pull(shelf: Shelf, *names: str) -> None:
    for name in names:
        shelf[name].path.unlink()
    restart(shelf)


def test_a_pulled_member_is_missed(shelf: Shelf) -> None:
    bring_online(shelf, NODE)
    pull(shelf, "0c.00.1")
    found = bring_online(shelf, NODE)
    assert names(found) == ("0c.00.0", None, "0c.00.2")
    assert (found.online, found.problem) == (True, "0 of 3 disks locked, 1 missing")


def test_pulled_members_are_not_replaced_by_a_new_aggregate(shelf: Shelf) -> None:
    bring_online(shelf, NODE)
    pull(shelf, *MEMBERS)
    found = bring_online(shelf, NODE)
    assert (found.online, found.problem) == (False, "0 of 3 disks locked, 3 missing")
    assert roles(found, shelf) == ["spare", "spare"]


def move(shelf: Shelf, names: tuple[str, ...], other: Shelf) -> None:
    """Move disks of ``shelf`` into the second shelf of ``other``."""
    for name in names:
        path = shelf[name].path
        path.rename(other["0c.00.0"].path.with_name(path.name.replace("0c.00", "0c.01")))
    restart(other)


@pytest.mark.parametrize("system", [OTHER_SYSTEM, SYSTEM])
def test_a_moved_member_is_foreign(
    tmp_path: Path, shelf: Shelf, derivation: Derivation, system: int
) -> None:
    bring_online(shelf, NODE)
    origin = powered(tmp_path / "origin", derivation)
    bring_online(origin, Node(system))
    lock(origin, "0c.00.1")
    move(origin, ("0c.00.0", "0c.00.1", "0c.00.2", "0c.00.3"), shelf)
    found = bring_online(shelf, NODE)
    assert (found.online, names(found)) == (True, MEMBERS)
    spares, strangers = ["spare"] * 2, ["foreign"] * 3
    assert roles(found, shelf) == [*POSITIONS, *spares, *strangers, "spare"]


def test_all_disks_of_another_system_are_not_ours(tmp_path: Path, derivation: Derivation) -> None:
    shelf = powered(tmp_path, derivation, count=7)
    bring_online(shelf, NODE)
    found = bring_online(shelf, Node(OTHER_SYSTEM))
    assert (found.online, found.members) == (False, ())
    assert found.problem == "0 of 4 disks locked, 3 of another system"
    assert roles(found, shelf) == ["foreign"] * 3 + ["spare"] * 4
    assert bring_online(shelf, NODE).online


def test_moved_disks_never_stand_in_for_locked_members(
    tmp_path: Path, shelf: Shelf, derivation: Derivation
) -> None:
    bring_online(shelf, NODE)
    lock(shelf)
    origin = powered(tmp_path / "origin", derivation)
    bring_online(origin, NODE)
    move(origin, MEMBERS, shelf)
    found = bring_online(shelf, NODE)
    assert (found.online, names(found)) == (False, MEMBERS)
    assert found.problem == "3 of 3 disks locked, 3 of another system"
    assert roles(found, shelf) == [*POSITIONS, "unknown", "unknown", *["foreign"] * 3]


def with_another_aggregate(
    tmp_path: Path, shelf: Shelf, derivation: Derivation, maker: Node = NODE
) -> Shelf:
    """Make aggr0, and move in another one that ``maker`` has made; return where it was."""
    bring_online(shelf, NODE)
    origin = powered(tmp_path / "origin", derivation)
    bring_online(origin, maker)
    move(origin, MEMBERS, shelf)
    for disk in shelf:
        disk.assign(NODE.owner)
    return origin


def test_disks_of_another_root_with_its_id_are_taken_only_without_the_record(
    tmp_path: Path, shelf: Shelf, derivation: Derivation
) -> None:
    """The recorded members may only have no power."""
    origin = with_another_aggregate(tmp_path, shelf, derivation)
    pull(shelf, *MEMBERS)
    found = bring_online(shelf, NODE)
    assert (found.online, names(found)) == (False, (None, None, None))
    assert {found.role(disk) for disk in shelf if disk.name.startswith("0c.01")} == {"foreign"}
    (tmp_path / "var" / "shelf.toml").unlink()
    found = bring_online(shelf, NODE)
    assert (found.online, names(found)) == (True, ("0c.01.0", "0c.01.1", "0c.01.2"))
    assert shelf.record.aggr0 == origin.record.aggr0


def test_without_a_record_no_other_aggregate_is_taken_while_own_disks_are_locked(
    tmp_path: Path, shelf: Shelf, derivation: Derivation
) -> None:
    with_another_aggregate(tmp_path, shelf, derivation)
    lock(shelf, *MEMBERS)
    (tmp_path / "var" / "shelf.toml").unlink()
    found = bring_online(shelf, NODE)
    assert (found.online, found.members) == (False, ())
    for name in MEMBERS:
        shelf[name].authenticate(KEY)
    found = bring_online(shelf, NODE)
    assert (found.online, len(found.members)) == (True, 3)


def taken_over(root: Path, derivation: Derivation) -> Aggregate:
    """Return the aggregate as a partner finds it, which has no record of the shelf."""
    shelf = Shelf(root / "shelf", None, Storage(), derivation)
    restart(shelf)
    return assemble(shelf, NODE)


def test_a_takeover_takes_no_aggregate_that_another_system_made(
    tmp_path: Path, shelf: Shelf, derivation: Derivation
) -> None:
    with_another_aggregate(tmp_path, shelf, derivation, Node(OTHER_SYSTEM))
    assert taken_over(tmp_path, derivation).online
    pull(shelf, *MEMBERS)
    assert taken_over(tmp_path, derivation).members == ()


def test_a_takeover_takes_no_aggregate_that_was_replaced(
    tmp_path: Path, shelf: Shelf, derivation: Derivation
) -> None:
    bring_online(shelf, NODE)
    erased = [shelf[f"0c.00.{bay}"] for bay in (2, 3, 4)]
    for disk in erased:
        disk.sanitize()
    make_root(shelf, NODE, erased, os.urandom)
    assert names(taken_over(tmp_path, derivation)) == ("0c.00.2", "0c.00.3", "0c.00.4")
    pull(shelf, "0c.00.3", "0c.00.4")
    found = taken_over(tmp_path, derivation)
    assert (found.online, names(found)) == (False, ("0c.00.2", None, None))


@pytest.mark.parametrize(("torn", "is_in_step"), [(b"\1", True), (b"\0", False)])
def test_a_torn_label_is_written_again_and_a_zeroed_member_is_rebuilt(
    shelf: Shelf, torn: bytes, is_in_step: bool
) -> None:
    bring_online(shelf, NODE)
    label = shelf["0c.00.0"].read_block(0)
    shelf["0c.00.1"].write_block(0, torn * BLOCK_SIZE)
    restart(shelf)
    found = bring_online(shelf, NODE)
    assert (found.online, found.degraded) == (True, not is_in_step)
    assert (shelf["0c.00.1"].read_block(0) == label) is is_in_step


def test_sanitized_members_are_spares_while_another_one_has_the_data(shelf: Shelf) -> None:
    bring_online(shelf, NODE)
    for number in (1, 0):
        name = f"0c.00.{number}"
        shelf[name].sanitize()
        restart(shelf)
        found = bring_online(shelf, NODE)
        assert (found.online, found.degraded) == (True, True)
        assert found.role(shelf[name]) == "spare"
        assert found.needs(shelf["0c.00.2"]) == (number == 0)
    shelf["0c.00.2"].destroy()
    restart(shelf)
    assert bring_online(shelf, NODE).role(shelf["0c.00.0"]) == "dparity"


def test_sanitizing_every_disk_makes_a_first_boot_possible(shelf: Shelf) -> None:
    bring_online(shelf, NODE)
    lock(shelf)
    for disk in shelf:
        disk.sanitize()
    restart(shelf)
    found = bring_online(shelf, NODE)
    assert (found.online, names(found)) == (True, MEMBERS)


def test_destroyed_members_stay_members_and_other_destroyed_disks_are_broken(
    shelf: Shelf,
) -> None:
    bring_online(shelf, NODE)
    shelf["0c.00.2"].destroy()
    shelf["0c.00.4"].destroy()
    restart(shelf)
    found = bring_online(shelf, NODE)
    assert (found.online, found.locked) == (True, 1)
    assert roles(found, shelf) == ["dparity", "parity", "data", "spare", "broken"]


def test_a_destroyed_disk_does_not_stop_the_first_boot(shelf: Shelf) -> None:
    shelf["0c.00.0"].destroy()
    assert names(bring_online(shelf, NODE)) == ("0c.00.1", "0c.00.2", "0c.00.3")
