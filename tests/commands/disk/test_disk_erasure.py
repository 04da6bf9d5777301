"""disk encrypt sanitize and destroy: which data are erased, and that they are gone."""

from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS

from filer.boot.machine import Panic
from filer.commands import Cancelled, EndOfAnswers
from filer.disks.derivation import Derivation
from filer.disks.disk import BLOCK_SIZE, AuthenticationFailed, Destroyed, Disk, DiskLocked
from filer.disks.header import DATA_OFFSET, RECORD_OFFSETS, SLOT_OFFSETS, SLOT_SIZE, Header
from filer.disks.label import Label
from filer.disks.record import RECORD_SIZE
from filer.host.durable import Storage
from filer.keys.authentication_key import MSID, AuthenticationKey
from filer.shell.plugins import commands_in_maintenance
from tests.conftest import StartKeyServers
from tests.kit import disk_files, manual
from tests.kit.console import Account, beside
from tests.kit.house import Answer, House, Outcome
from tests.kit.manual import Build, completed
from tests.kit.pairs import lose, pairs_on
from tests.kit.wraps import wraps

build = manual.build

MEMBERS = ("0c.00.0", "0c.00.1", "0c.00.2")
SPARES = ("0c.00.3", "0c.00.4", "0c.00.5")
SPARE = SPARES[0]
WORDS = {"sanitize": "sanitize disk", "destroy": "destroy disk"}
LOST = {
    "sanitize": "will be lost for good.",
    "destroy": "will be lost for good, and the disks cannot be used again.",
}
MARK = "unmistakable content of a block"

each_verb = pytest.mark.parametrize("verb", list(WORDS))


@pytest.fixture
def house(build: Build) -> House:
    """A filer with three spares beside its root aggregate."""
    return build(1, disks=6)


def asked(verb: str, answer: str, *names: str) -> str:
    """Return the warning and the question, with its answer, before ``names`` are erased."""
    return (
        f"Warning: The data on {len(names)} disks ({', '.join(names)}) {LOST[verb]}\n"
        f"To continue, enter {WORDS[verb]}: {answer}\n"
    )


def erase(house: House, verb: str, disk_list: str, *names: str) -> None:
    """Erase ``disk_list``, whose disks are ``names``."""
    assert house.good(f"disk encrypt {verb} {disk_list}", WORDS[verb]) == (
        asked(verb, WORDS[verb], *names) + completed(verb, len(names))
    )


def rows(house: House, disk_list: str = "") -> list[tuple[str, str, str]]:
    """Return the rows of ``disk encrypt show``."""
    lines = house.good(f"disk encrypt show {disk_list}").splitlines()[1:]
    return [(line[:10].rstrip(), line[11:75].rstrip(), line[76:]) for line in lines]


def header_of(house: House, name: str) -> Header:
    return disk_files.head_of(file_of(house, name)).header


def file_of(house: House, name: str) -> Path:
    return house.root / "shelf" / f"{name}.sed"


def contents(house: House) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (house.root / "shelf").iterdir()}


def is_member(name: str) -> str:
    return f"{name}: belongs to aggregate aggr0\n"


# The words to type.


@each_verb
def test_the_exact_words_erase_a_spare(verb: str, house: House) -> None:
    erase(house, verb, SPARE, SPARE)


@each_verb
def test_the_warning_names_every_disk_that_will_be_erased(verb: str, house: House) -> None:
    erase(house, verb, "0c.00.[345]", *SPARES)


@each_verb
def test_any_other_answer_changes_nothing(verb: str, house: House) -> None:
    before, words = contents(house), f"{verb} disk"
    for answer in (
        *("", "yes", "y", "SANITIZE DISK", "disk"),
        *(f"{words}s", f"{words} ", f" {words}", verb),
    ):
        assert house.execute(f"disk encrypt {verb} {SPARE}", answer) == (
            1,
            asked(verb, answer, SPARE),
            f"disk: encrypt {verb}: not confirmed; nothing was changed\n",
        )
        assert contents(house) == before, answer


@pytest.mark.parametrize(
    ("verb", "answer"), [("sanitize", "destroy disk"), ("destroy", "sanitize disk")]
)
def test_the_words_of_one_are_not_those_of_the_other(verb: str, answer: str, house: House) -> None:
    before = contents(house)
    assert house.execute(f"disk encrypt {verb} {SPARE}", answer).status == 1
    assert contents(house) == before


@each_verb
@pytest.mark.parametrize(
    ("answer", "complaint"), [(Cancelled, "interrupted"), (EndOfAnswers, "end of input")]
)
def test_an_answer_that_is_broken_off_changes_nothing(
    verb: str, answer: Answer, complaint: str, house: House
) -> None:
    before = contents(house)
    outcome = house.execute(f"disk encrypt {verb} *", answer)
    assert (outcome.status, outcome.err) == (1, f"disk: {complaint}\n")
    assert contents(house) == before


@each_verb
def test_a_stop_before_the_first_disk_leaves_all_as_they_are(verb: str, house: House) -> None:
    before = contents(house)
    stop = {"": house.filer.interrupt.request}
    assert house.execute(f"disk encrypt {verb} 0c.00.[345]", WORDS[verb], when=stop) == (
        1,
        asked(verb, WORDS[verb], *SPARES) + completed(verb, 0),
        f"{verb}: interrupted; 3 disks were not reached\n",
    )
    assert contents(house) == before


# Which disks.


@each_verb
def test_a_member_of_the_aggregate_is_refused_without_a_question(verb: str, house: House) -> None:
    before = contents(house)
    for name in MEMBERS:
        assert house.execute(f"disk encrypt {verb} {name}") == (
            1,
            completed(verb, 1, failures=1),
            is_member(name),
        )
    assert contents(house) == before


@each_verb
def test_members_among_others_fail_and_the_spares_are_erased(verb: str, house: House) -> None:
    house.encrypt()
    outcome = house.execute(f"disk encrypt {verb} *", WORDS[verb])
    assert outcome == (
        1,
        asked(verb, WORDS[verb], *SPARES) + completed(verb, 6, failures=3),
        "".join(map(is_member, MEMBERS)),
    )
    assert house.reboot() == ""
    assert {name for name, key_id, _ in rows(house) if len(key_id) == 64} == set(MEMBERS)


@each_verb
def test_a_member_that_stays_locked_is_refused_all_the_same(verb: str, house: House) -> None:
    lost = house.encrypt()
    house.good("key_manager rekey")
    house.good(f"disk encrypt rekey {lost} {MEMBERS[1]}")
    lose(house.servers[0], *(p for p in pairs_on(house.servers[0]) if p.key_id == lost))
    house.reboot()
    assert house.filer.shelf[MEMBERS[1]].locked
    assert house.execute(f"disk encrypt {verb} {MEMBERS[1]}").err == is_member(MEMBERS[1])


def with_a_disk_of_another_system(house: House, *, locked: bool) -> None:
    """Write the label of another system on a spare; ``locked``: with a lost key."""
    disk = house.filer.shelf[SPARE]
    disk.write_block(0, Label(7, "aggr0", (disk.serial, "OTHER1", "OTHER2")).pack())
    if locked:
        key = AuthenticationKey(b"of the other system")
        disk.rekey(MSID, "7" * 64, key)
        disk.lock(key)
    house.reboot()


@each_verb
@pytest.mark.parametrize(
    ("locked", "why"),
    [
        (False, "belongs to another aggregate"),
        (True, "cannot be read, so it may belong to an aggregate"),
    ],
)
def test_a_disk_of_others_or_of_unknown_owner_is_refused(
    verb: str, locked: bool, why: str, house: House
) -> None:
    with_a_disk_of_another_system(house, locked=locked)
    before = contents(house)
    assert house.execute(f"disk encrypt {verb} {SPARE}") == (
        1,
        completed(verb, 1, failures=1),
        f"{SPARE}: {why}\n",
    )
    assert contents(house) == before


@pytest.mark.parametrize("locked", [False, True])
def test_sanitize_all_takes_the_spares_and_names_what_may_be_one(
    locked: bool, house: House
) -> None:
    with_a_disk_of_another_system(house, locked=locked)
    before = contents(house)
    if locked:
        assert house.execute("disk encrypt sanitize -all", WORDS["sanitize"]) == (
            1,
            asked("sanitize", WORDS["sanitize"], *SPARES[1:])
            + completed("sanitize", 3, failures=1),
            f"{SPARE}: cannot be read, so it may belong to an aggregate\n",
        )
    else:
        erase(house, "sanitize", "-all", *SPARES[1:])
    after = contents(house)
    assert {name for name in after if after[name] != before[name]} == {
        f"{name}.sed" for name in SPARES[1:]
    }


def test_sanitize_all_passes_over_what_is_destroyed(house: House) -> None:
    erase(house, "destroy", SPARE, SPARE)
    erase(house, "sanitize", "-all", *SPARES[1:])


def test_sanitize_all_without_spares_is_refused_and_asks_nothing(house: House) -> None:
    erase(house, "destroy", "0c.00.[345]", *SPARES)
    assert house.bad("disk encrypt sanitize -all") == "disk: there is no spare disk\n"


def test_a_name_that_fits_no_disk_stops_it_all(house: House) -> None:
    before = contents(house)
    assert house.bad(f"disk encrypt destroy {SPARE} 0c.09.0") == (
        'disk: no disk matches "0c.09.0"\n'
    )
    assert contents(house) == before


# Disks that no command reaches.


@pytest.mark.parametrize("maintenance", [False, True])
@pytest.mark.parametrize(
    ("verb", "disk_list"),
    [
        ("sanitize", "-all"),
        ("sanitize", "0c.00.[345]"),
        ("sanitize", "*"),
        ("destroy", "0c.00.[345]"),
        ("destroy", "*"),
    ],
)
def test_a_disk_that_was_not_read_is_named_and_fails(
    verb: str, disk_list: str, maintenance: bool, house: House
) -> None:
    left_out, pulled, reached = SPARES
    house.encrypt()
    house.close()
    file_of(house, left_out).write_bytes(b"")
    file_of(house, pulled).unlink()
    with House(house.root, house.servers) as now:
        line, answer = f"disk encrypt {verb} {disk_list}", WORDS[verb]
        if maintenance:
            now.power_cycle()
            outcome = now.execute(line, answer, commands=commands_in_maintenance())
        else:
            now.boot()
            outcome = now.execute(line, answer)
        destroyed = now.filer.shelf[reached].destroyed
        assert destroyed if verb == "destroy" else now.filer.shelf[reached].key_id == "0x0"
    assert outcome.status == 1
    told = outcome.err.splitlines()
    assert f"{left_out}: not reached, it keeps its data: damaged: the file is too short" in told
    assert f"{pulled}: not in the shelf; it keeps its data" in told


@each_verb
def test_by_name_a_disk_that_was_not_read_is_no_matter(verb: str, house: House) -> None:
    house.close()
    file_of(house, SPARES[1]).write_bytes(b"")
    with House(house.root, house.servers) as now:
        now.boot()
        erase(now, verb, SPARE, SPARE)


@each_verb
def test_without_storage_encryption_nothing_is_erased(verb: str, build: Build) -> None:
    house = build(1, storage_encryption=False)
    assert house.bad(f"disk encrypt {verb} {SPARE}") == (
        "disk: Storage Encryption is not enabled on this system\n"
    )


# Destroyed disks.


def test_a_destroyed_disk_shows_it(house: House) -> None:
    house.encrypt()
    erase(house, "destroy", SPARE, SPARE)
    for _ in range(2):
        assert rows(house, f"{SPARE} {SPARES[1]}") == [
            (SPARE, "(destroyed)", "Yes"),
            (SPARES[1], house.key_id(), "Yes"),
        ]
        assert house.filer.shelf[SPARE].locked
        assert house.reboot() == ""


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("encrypt lock {}", []),
        ("encrypt rekey 0x0 {}", []),
        ("encrypt sanitize {}", ["sanitize disk"]),
        ("encrypt destroy {}", ["destroy disk"]),
    ],
)
def test_a_destroyed_disk_is_passed_over_by_patterns_and_fails_by_name(
    line: str, answers: list[str], house: House
) -> None:
    house.encrypt()
    erase(house, "destroy", SPARE, SPARE)
    before = header_of(house, SPARE)
    verb = line.split()[1]
    outcome = house.execute(f"disk {line.format('0c.00.[34]')}", *answers)
    assert outcome.status == 0
    assert outcome.err == f"{SPARE}: is destroyed; skipped\n"
    assert outcome.out.endswith(completed(verb, 1))
    outcome = house.execute(f"disk {line.format(SPARE)}")
    assert (outcome.status, outcome.out) == (1, completed(verb, 1, failures=1))
    assert outcome.err.startswith(f"{SPARE}: ")
    assert "destroyed" in outcome.err
    assert header_of(house, SPARE) == before


def test_rekey_of_all_passes_over_a_destroyed_disk(house: House) -> None:
    house.encrypt()
    erase(house, "destroy", SPARE, SPARE)
    outcome = house.execute("key_manager rekey")
    assert outcome.status == 0
    assert outcome.out.endswith(completed("rekey", 5))
    assert outcome.err == f"{SPARE}: is destroyed; skipped\n"


# The remaining file content.


def as_it_was(house: House) -> tuple[set[bytes], AuthenticationKey]:
    """Use several keys on a spare; return all wraps that were ever in its file."""
    seen = wraps(file_of(house, SPARE).read_bytes())
    house.write(SPARE, MARK)
    house.add()
    house.good("key_manager rekey")
    seen |= wraps(file_of(house, SPARE).read_bytes())
    house.good("disk encrypt lock *")
    seen |= wraps(file_of(house, SPARE).read_bytes())
    house.good("key_manager rekey")
    last = house.key_id(SPARE)
    seen |= wraps(file_of(house, SPARE).read_bytes())
    assert len(seen) == 6
    (key,) = (pair.key for pair in pairs_on(house.servers[0]) if pair.key_id == last)
    return seen, key


@each_verb
def test_no_wrap_that_was_ever_written_is_left_in_the_file(verb: str, house: House) -> None:
    seen, _ = as_it_was(house)
    erase(house, verb, SPARE, SPARE)
    data = file_of(house, SPARE).read_bytes()
    assert not [wrap for wrap in seen if wrap in data]
    assert wraps(file_of(house, SPARE).read_bytes()).isdisjoint(seen)
    slots = [data[offset : offset + SLOT_SIZE] for offset in SLOT_OFFSETS]
    assert sorted(map(any, slots)) == [False, True]
    for offset in RECORD_OFFSETS:
        assert not any(data[offset + 512 : offset + RECORD_SIZE])


def test_sanitized_data_is_lost_even_to_the_old_key(house: House) -> None:
    _, key = as_it_was(house)
    old = file_of(house, SPARE).read_bytes()
    erase(house, "sanitize", SPARE, SPARE)
    assert rows(house, SPARE) == [(SPARE, "0x0", "No")]
    # The blocks themselves are unchanged, but nothing can read them any more.
    assert file_of(house, SPARE).read_bytes()[DATA_OFFSET:] == old[DATA_OFFSET:]
    assert house.filer.shelf[SPARE].read_block(1) != MARK.encode().ljust(BLOCK_SIZE, b"\0")
    house.reboot()
    disk = house.filer.shelf[SPARE]
    assert MARK.encode() not in disk.read_block(1)
    with pytest.raises(AuthenticationFailed):
        disk.authenticate(key)
    disk.authenticate(MSID)
    assert MARK.encode() not in disk.read_block(1)


def test_destroyed_data_is_lost_to_every_key(house: House) -> None:
    _, key = as_it_was(house)
    erase(house, "destroy", SPARE, SPARE)
    assert wraps(file_of(house, SPARE).read_bytes()) == set()
    house.reboot()
    disk = house.filer.shelf[SPARE]
    for candidate in (key, MSID):
        with pytest.raises(Destroyed):
            disk.authenticate(candidate)
        with pytest.raises(DiskLocked):
            disk.read_block(1)
    assert disk.failures == 0


def test_an_old_header_put_back_does_not_open_new_data(house: House) -> None:
    _, key = as_it_was(house)
    old = file_of(house, SPARE).read_bytes()
    erase(house, "sanitize", SPARE, SPARE)
    house.write(SPARE, "written after it was sanitized")
    new = file_of(house, SPARE).read_bytes()
    house.power_off()
    grafted = house.root / "grafted.sed"
    grafted.write_bytes(old[:DATA_OFFSET] + new[DATA_OFFSET:])
    disk = Disk("0c.00.9", grafted, Storage(), Derivation())
    disk.power_on()
    disk.authenticate(key)
    assert b"written after" not in disk.read_block(1)


def test_the_new_data_key_is_not_the_old_one(house: House) -> None:
    """With an unchanged data key, an attacker's old wrap of it would read new data."""
    disk = house.filer.shelf[SPARE]
    old = disk._data.key.reveal()
    erase(house, "sanitize", SPARE, SPARE)
    house.write(SPARE, MARK)
    block = file_of(house, SPARE).read_bytes()[DATA_OFFSET + BLOCK_SIZE :][:BLOCK_SIZE]
    decryptor = Cipher(AES(old), XTS((1).to_bytes(16, "little"))).decryptor()
    assert MARK.encode() not in decryptor.update(block) + decryptor.finalize()


def test_a_sanitized_disk_is_as_new(house: House) -> None:
    key_id = house.encrypt()
    serial = house.filer.shelf[SPARE].serial
    erase(house, "sanitize", SPARE, SPARE)
    for _ in range(2):
        disk = house.filer.shelf[SPARE]
        assert (disk.serial, disk.key_id, disk.locking, disk.failures) == (serial, "0x0", False, 0)
        assert house.reboot() == ""
    house.good(f"disk encrypt rekey {key_id} {SPARE}")
    house.good(f"disk encrypt lock {SPARE}")
    house.write(SPARE, "new data")
    assert house.reboot() == ""
    assert house.read(SPARE) == "new data"


# Maintenance mode.


def in_maintenance(root: Path, line: str, *answers: Answer) -> Outcome:
    """Execute a line in maintenance mode: with power, but without keys and WAFL."""
    with House(root) as house:
        house.power_cycle()
        return house.execute(line, *answers, commands=commands_in_maintenance())


@pytest.fixture
def locked_root(house: House) -> Path:
    """Return the root of a filer that is off and whose disks are all locked."""
    house.encrypt()
    house.close()
    return house.root


@each_verb
def test_in_maintenance_mode_the_words_are_enough_for_any_disk(
    verb: str, locked_root: Path
) -> None:
    names = (*MEMBERS, *SPARES)
    assert in_maintenance(locked_root, f"disk encrypt {verb} *", WORDS[verb]) == (
        0,
        asked(verb, WORDS[verb], *names) + completed(verb, 6),
        "",
    )


def test_in_maintenance_mode_sanitize_all_takes_every_disk(locked_root: Path) -> None:
    names = (*MEMBERS, *SPARES)
    assert in_maintenance(locked_root, "disk encrypt sanitize -all", "sanitize disk") == (
        0,
        asked("sanitize", "sanitize disk", *names) + completed("sanitize", 6),
        "",
    )
    assert boots(locked_root)


@each_verb
def test_in_maintenance_mode_the_words_are_needed_too(verb: str, locked_root: Path) -> None:
    before = {path: path.read_bytes() for path in (locked_root / "shelf").iterdir()}
    outcome = in_maintenance(locked_root, f"disk encrypt {verb} *", "yes")
    assert outcome.err == f"disk: encrypt {verb}: not confirmed; nothing was changed\n"
    assert {path: path.read_bytes() for path in before} == before


def test_maintenance_mode_shows_locked_disks_and_tries_no_key(locked_root: Path) -> None:
    before = {path: path.read_bytes() for path in (locked_root / "shelf").iterdir()}
    status, out, err = in_maintenance(locked_root, "disk encrypt show")
    assert (status, err) == (0, "")
    assert [line.split()[-1] for line in out.splitlines()[1:]] == ["Yes"] * 6
    assert {path: path.read_bytes() for path in before} == before


def test_maintenance_mode_rekeys_no_disk_whose_key_no_server_shows(locked_root: Path) -> None:
    (locked_root / "var" / "kmip").unlink()  # no key server is registered
    before = {path: path.read_bytes() for path in (locked_root / "shelf").iterdir()}
    outcome = in_maintenance(locked_root, "disk encrypt rekey 0x0 *")
    assert outcome.out == completed("rekey", 6, failures=6, unknown=6)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("line", ["disk encrypt lock *", "key_manager show"])
def test_maintenance_mode_has_no_other_commands(line: str, locked_root: Path) -> None:
    outcome = in_maintenance(locked_root, line)
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith(("disk: word", "key_manager not found."))


def boots(root: Path) -> bool:
    with House(root) as house:
        with suppress(Panic):
            house.boot()
        return house.filer.wafl_is_up


def test_the_root_aggregate_outlives_one_destroyed_member_and_not_two(locked_root: Path) -> None:
    in_maintenance(locked_root, f"disk encrypt destroy {MEMBERS[0]}", "destroy disk")
    assert boots(locked_root)
    in_maintenance(locked_root, f"disk encrypt destroy {MEMBERS[1]}", "destroy disk")
    assert not boots(locked_root)


def test_a_sanitized_member_is_taken_in_again(locked_root: Path) -> None:
    in_maintenance(locked_root, f"disk encrypt sanitize {MEMBERS[0]}", "sanitize disk")
    assert boots(locked_root)
    in_maintenance(locked_root, f"disk encrypt destroy {MEMBERS[1]}", "destroy disk")
    assert boots(locked_root)


# In a script.


@pytest.fixture
def account(key_servers: StartKeyServers, tmp_path: Path) -> Account:
    return beside(key_servers(1), tmp_path / "home")


def test_a_script_types_the_words_in_the_next_line(account: Account) -> None:
    outcome = account.script(
        f"disk encrypt destroy {SPARE}", "destroy disk", f"disk encrypt show {SPARE}"
    )
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.splitlines()[-1] == f"{SPARE}    {'(destroyed)':<64} Yes"


def test_answers_without_a_question_do_not_run(account: Account) -> None:
    outcome = account.script(f"disk encrypt destroy {MEMBERS[0]}", "destroy disk", "hostname")
    assert outcome == (completed("destroy", 1, failures=1) + "filer1\n", is_member(MEMBERS[0]), 1)


def test_the_end_of_a_script_is_no_consent(account: Account) -> None:
    outcome = account.commands(f"disk encrypt destroy {SPARE}")
    assert (outcome.status, outcome.err) == (1, "disk: end of input\n")
    assert "(destroyed)" not in account.commands("disk encrypt show").out
