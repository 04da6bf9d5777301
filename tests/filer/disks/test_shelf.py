"""All disks: names, filling bays once, disk lists, and files that are not disks."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.disks.bay import disk_index, disk_name
from filer.disks.derivation import Derivation
from filer.disks.header import BLOCK_SIZE, DATA_OFFSET
from filer.disks.label import Composition
from filer.disks.shelf import Shelf, ShelfError
from filer.disks.shelf_record import OwnDisk, ShelfRecord
from filer.host.durable import Storage, StorageError
from filer.host.toml_file import ConfigError
from tests.kit.faulty import FailingStorage, NotedStorage

SIZE = 4 * BLOCK_SIZE


def shelf_at(root: Path, storage: Storage | None = None) -> Shelf:
    for name in ("shelf", "var"):
        (root / name).mkdir(exist_ok=True)
    return Shelf(root / "shelf", root / "var" / "shelf.toml", storage or Storage(), Derivation())


def powered(root: Path, count: int) -> Shelf:
    """Return a powered-on shelf with ``count`` bays."""
    shelf = shelf_at(root)
    shelf.populate(count, SIZE)
    shelf.load()
    shelf.power_on()
    return shelf


def files(root: Path) -> set[str]:
    return {entry.name for entry in (root / "shelf").iterdir()}


@pytest.mark.parametrize(
    ("index", "name"),
    [(0, "0c.00.0"), (23, "0c.00.23"), (24, "0c.01.0"), (2399, "0c.99.23"), (2400, "0c.100.0")],
)
def test_disk_names_count_through_the_shelves(index: int, name: str) -> None:
    assert (disk_name(index), disk_index(name)) == (name, index)


@given(st.integers(0, 10**6))
def test_a_disk_name_tells_its_index(index: int) -> None:
    assert disk_index(disk_name(index)) == index


@pytest.mark.parametrize(
    "text", ["", "0c.0.0", "0c.00.24", "0c.00.00", "0c.000.1", "0d.00.0", "0c.00.1 ", "0c.00.٣"]
)
def test_other_texts_are_no_disk_names(text: str) -> None:
    assert disk_index(text) is None


def test_a_text_of_any_length_is_no_disk_name() -> None:
    assert disk_index(f"0c.{'1' * 5000}.0") is None


@given(st.text())
def test_any_text_is_a_disk_name_or_not(text: str) -> None:
    index = disk_index(text)
    assert index is None or disk_name(index) == text


def test_new_disks_are_factory_new_and_in_natural_order(tmp_path: Path) -> None:
    shelf = powered(tmp_path, 26)
    names = [disk.name for disk in shelf]
    assert names == [disk_name(index) for index in range(26)]
    assert len(shelf) == 26
    assert shelf["0c.01.1"].name == "0c.01.1"
    assert {(disk.key_id, disk.locking, disk.locked) for disk in shelf} == {("0x0", False, False)}
    assert len({disk.serial for disk in shelf}) == 26
    assert shelf["0c.00.0"].path.stat().st_size == DATA_OFFSET + SIZE
    shelf.power_off()
    assert all(disk.locked for disk in shelf)


def test_each_bay_is_filled_once(tmp_path: Path) -> None:
    powered(tmp_path, 3)
    pulled = tmp_path / "shelf" / "0c.00.1.sed"
    pulled.unlink()
    kept = (tmp_path / "shelf" / "0c.00.0.sed").read_bytes()
    assert [disk.name for disk in powered(tmp_path, 3)] == ["0c.00.0", "0c.00.2"]
    assert [disk.name for disk in powered(tmp_path, 5)] == [
        "0c.00.0",
        "0c.00.2",
        "0c.00.3",
        "0c.00.4",
    ]
    assert len(powered(tmp_path, 2)) == 4
    assert (tmp_path / "shelf" / "0c.00.0.sed").read_bytes() == kept
    assert not pulled.exists()


def test_a_disk_that_is_there_already_is_left_alone(tmp_path: Path) -> None:
    shelf = powered(tmp_path, 1)
    serial = shelf["0c.00.0"].serial
    (tmp_path / "var" / "shelf.toml").unlink()
    assert powered(tmp_path, 2)["0c.00.0"].serial == serial


def test_filling_goes_on_where_it_stopped(tmp_path: Path) -> None:
    storage = FailingStorage()
    storage.arm(3)
    shelf = shelf_at(tmp_path, storage)
    with pytest.raises(StorageError):
        shelf.populate(5, SIZE)
    before = {name: (tmp_path / "shelf" / name).read_bytes() for name in files(tmp_path)}
    assert len(powered(tmp_path, 5)) == 5
    assert files(tmp_path) == {f"{disk_name(index)}.sed" for index in range(5)}
    assert len(before) == 2
    for name, content in before.items():
        assert (tmp_path / "shelf" / name).read_bytes() == content


def test_a_disk_is_durable_before_the_record_of_it(tmp_path: Path) -> None:
    powered(tmp_path, 2)
    record = tmp_path / "var" / "shelf.toml"
    record.unlink()
    with pytest.raises(StorageError):
        shelf_at(tmp_path, NotedStorage(unsettling=True)).populate(3, SIZE)
    assert not record.exists()
    storage = NotedStorage()
    shelf_at(tmp_path, storage).populate(3, SIZE)
    assert [path.name for _, path in storage.calls] == [
        "0c.00.0.sed",
        "shelf",
        "0c.00.1.sed",
        "shelf",
        "shelf.toml",
    ]


def test_a_moved_disk_is_there(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for root in (one, other):
        root.mkdir()
        powered(root, 2)
    serial = powered(one, 2)["0c.00.1"].serial
    (one / "shelf" / "0c.00.1.sed").rename(other / "shelf" / "0c.03.7.sed")
    assert powered(other, 2)["0c.03.7"].serial == serial


def test_what_is_no_whole_disk_is_left_out_with_a_warning(tmp_path: Path) -> None:
    powered(tmp_path, 4)
    directory = tmp_path / "shelf"
    (directory / "0c.00.0.sed").write_bytes(b"garbage")
    (directory / "0c.00.1.sed").unlink()
    (directory / "0c.00.1.sed").symlink_to("nowhere")
    (directory / "0c.00.5.sed").mkdir()
    (directory / "evil\x1b[31m.sed").write_bytes(b"")
    (directory / "notes.txt").write_bytes(b"")
    shutil.copy(directory / "0c.00.2.sed", directory / "0c.00.9.sed")
    shelf = powered(tmp_path, 4)
    assert [disk.name for disk in shelf] == ["0c.00.2", "0c.00.3"]
    assert shelf.warnings == [
        "0c.00.1: a link, not a disk; left out",
        r"evil\x1b[31m.sed: not a disk name; left out",
        "0c.00.0: damaged: the file is too short; left out",
        "0c.00.5: cannot be read: Is a directory; left out",
        "0c.00.9: has the serial number of 0c.00.2; left out",
    ]
    assert (directory / "0c.00.0.sed").read_bytes() == b"garbage"


def test_a_shelf_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "shelf").write_bytes(b"")
    shelf = Shelf(tmp_path / "shelf", tmp_path / "shelf.toml", Storage(), Derivation())
    with pytest.raises(ShelfError, match=r"^shelf cannot be read: Not a directory$"):
        shelf.load()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("populated = \n", r"^var/shelf\.toml:1: "),
        ("\npopulated = -1\n", r"^var/shelf\.toml:2: populated must be"),
        ("populated = true\n", r"^var/shelf\.toml:1: populated must be"),
        ("", r"^var/shelf\.toml:1: populated must be"),
        ("populated = 1\naggr0 = [1]\n", r"^var/shelf\.toml:2: aggr0 must be"),
        ("populated = 1\naggr0_generation = 0\n", r":2: aggr0_generation must be"),
        ('populated = 1\naggr0_uuid = "0"\n', r":2: aggr0_uuid must be 32 hex"),
        ("populated = 1\ndisks = 1\n", r"^var/shelf\.toml:2: disks must have"),
        ('populated = 1\n[disks]\nA = "0c.00.0"\n', r"^var/shelf\.toml:2: disks must have"),
        ('populated = 1\n[disks]\nA = "x 0x0"\n', r"^var/shelf\.toml:2: disks must have"),
        *(
            (f'populated = 1\n[disks]\n{serial} = "{bay} 0x0"\n', r":2: disks must have")
            for serial, bay in [
                (r'"a\u001b[31mX\nfake line"', "0c.00.3"),
                ('"0123456789abcdef"', "0c.00.3"),
                ("0123456789ABCDE", "0c.00.3"),
                ("0123456789ABCDEF", r"0c.00.3\u001b[31m"),
                ("0123456789ABCDEF", f"0c.{'9' * 5000}.3"),
            ]
        ),
        ("populated = 1\naggr0 = ['\\e[31m']\n", r":2: aggr0 must be"),
        ("populated = 900000000000\n", r"^var/shelf\.toml:1: populated must be"),
        ("populated = 2401\n", r"^var/shelf\.toml:1: populated must be"),
    ],
)
def test_a_damaged_record_is_named_with_its_line(tmp_path: Path, text: str, error: str) -> None:
    shelf = powered(tmp_path, 1)
    record = tmp_path / "var" / "shelf.toml"
    record.write_text(text)
    with pytest.raises(ConfigError, match=error):
        shelf.populate(2, SIZE)
    assert record.read_text() == text
    assert files(tmp_path) == {"0c.00.0.sed"}


def test_the_root_aggregate_is_remembered(tmp_path: Path) -> None:
    shelf = powered(tmp_path, 1)
    assert shelf.record.aggr0 == Composition()
    aggr0 = Composition(tuple(f"{number:016}" for number in range(3)), 5, "0" * 32)
    shelf.remember_aggr0(aggr0)
    record = powered(tmp_path, 2).record
    assert (record.populated, record.aggr0) == (2, aggr0)


def test_the_disks_of_the_largest_shelf_are_remembered(tmp_path: Path) -> None:
    disks = {f"{number:016}": OwnDisk(disk_name(number), "A" * 64) for number in range(2400)}
    record = tmp_path / "var" / "shelf.toml"
    shelf = shelf_at(tmp_path)
    record.write_bytes(ShelfRecord(2400, disks=disks).pack())
    assert shelf.record == ShelfRecord(2400, disks=disks)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Disks 0c.00.0 to 0c.01.1; 0c.00.2 is destroyed."""
    shelf = powered(tmp_path_factory.mktemp("large"), 26)
    shelf["0c.00.2"].destroy()
    return shelf


@pytest.mark.parametrize(
    ("patterns", "names", "passed_over"),
    [
        (["0c.00.1"], "0c.00.1", ""),
        (["0c.01.1", "0c.00.3", "0c.01.1"], "0c.00.3 0c.01.1", ""),
        (["0c.01.*", "0c.01.0"], "0c.01.0 0c.01.1", ""),
        (["0c.00.[0-3]"], "0c.00.0 0c.00.1 0c.00.3", "0c.00.2"),
        (["0c.00.?", "0c.00.2"], " ".join(f"0c.00.{bay}" for bay in range(10)), ""),
        (["0c.00.2"], "0c.00.2", ""),
        (["0c.00.[2]"], "", "0c.00.2"),
        ([], "", ""),
    ],
)
def test_a_disk_list_selects_each_disk_once_in_natural_order(
    large: Shelf, patterns: list[str], names: str, passed_over: str
) -> None:
    selection = large.select(patterns)
    assert [disk.name for disk in selection.disks] == names.split()
    assert [disk.name for disk in selection.passed_over] == passed_over.split()


def test_a_star_selects_all_but_the_destroyed(large: Shelf) -> None:
    selection = large.select(["*"])
    assert len(selection.disks) == 25
    assert selection.passed_over == (large["0c.00.2"],)


@pytest.mark.parametrize("pattern", ["0c.00.24", "0C.00.1", "0c.02.*", "", "0c.00.[", "\x1b[2J"])
def test_what_matches_no_disk_is_refused(large: Shelf, pattern: str) -> None:
    with pytest.raises(ShelfError, match=r'^no disk matches "') as caught:
        large.select(["*", pattern])
    assert str(caught.value).isprintable()


@given(pattern=st.text(alphabet="*?[]!-0c.\\1", max_size=12))
def test_any_pattern_selects_or_is_refused(large: Shelf, pattern: str) -> None:
    try:
        selection = large.select([pattern])
    except ShelfError:
        return
    assert selection.disks or selection.passed_over
