"""Reading files by their paths in the filer."""

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filer.host.reading import NotThereError, UnreadableError, read_regular
from filer.mroot.volume import LIMIT, Mroot, MrootError


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A root volume with a log, beside a host file that must not be readable through it."""
    (tmp_path / "secret").write_bytes(b"host secret")
    etc = tmp_path / "mroot" / "etc"
    (etc / "sub").mkdir(parents=True)
    (etc / "messages").write_bytes(b"a log\n")
    return tmp_path / "mroot"


def refusal(volume: Path, path: str) -> str:
    with pytest.raises(MrootError) as error:
        Mroot(volume).read(path)
    return str(error.value)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/messages",
        "/mroot/etc/messages",
        "/mroot//etc/./messages",
        "/etc/sub/../messages",
        "/etc/../etc/messages",
    ],
)
def test_a_file_is_read_under_mroot_and_under_etc(volume: Path, path: str) -> None:
    assert Mroot(volume).read(path) == b"a log\n"


@pytest.mark.parametrize(
    "path",
    ["", "/", "messages", "etc/messages", "./etc/messages", "/var/kmip", "/mrootx/a", "//etc/x"],
)
def test_a_path_elsewhere_is_refused(volume: Path, path: str) -> None:
    assert refusal(volume, path) == f"{path}: not in /mroot or /etc of the filer"


@pytest.mark.parametrize(
    "path", ["/mroot/../secret", "/etc/../../secret", "/mroot/etc/sub/../../../secret"]
)
def test_a_path_that_leads_out_is_refused(volume: Path, path: str) -> None:
    assert refusal(volume, path) == f"{path}: leads out of /mroot"


@pytest.mark.parametrize("target", ["../../secret", "../../mroot/etc/messages", "/etc/passwd"])
def test_a_link_that_leads_out_is_refused(volume: Path, target: str) -> None:
    (volume / "etc" / "link").symlink_to(target)
    assert refusal(volume, "/etc/link") == "/etc/link: leads out of /mroot"


def test_a_link_to_a_neighbour_whose_name_only_begins_the_same_is_refused(volume: Path) -> None:
    outside = volume.with_name("mroot2")
    outside.mkdir()
    (outside / "file").write_bytes(b"host secret")
    (volume / "etc" / "link").symlink_to(outside / "file")
    assert refusal(volume, "/etc/link") == "/etc/link: leads out of /mroot"


def test_a_directory_link_that_leads_out_is_refused(volume: Path) -> None:
    (volume / "out").symlink_to("..")
    assert refusal(volume, "/mroot/out/secret") == "/mroot/out/secret: leads out of /mroot"


def test_a_link_that_stays_inside_is_followed(volume: Path) -> None:
    (volume / "etc" / "sub" / "up").symlink_to("../messages")
    (volume / "by host path").symlink_to(volume / "etc" / "sub" / "up")
    assert Mroot(volume).read("/mroot/by host path") == b"a log\n"


def test_links_stay_inside_where_the_volume_itself_is_reached_through_a_link(
    volume: Path, tmp_path: Path
) -> None:
    (tmp_path / "alias").symlink_to(volume)
    (volume / "real").symlink_to(volume / "etc" / "messages")
    (volume / "alias").symlink_to(tmp_path / "alias" / "etc" / "messages")
    assert Mroot(tmp_path / "alias").read("/mroot/real") == b"a log\n"
    assert Mroot(tmp_path / "alias").read("/mroot/alias") == b"a log\n"


def test_a_loop_of_links_ends(volume: Path) -> None:
    (volume / "a").symlink_to("b")
    (volume / "b").symlink_to("a")
    assert refusal(volume, "/mroot/a") == "/mroot/a: too many levels of symbolic links"


@pytest.mark.parametrize("path", ["/mroot", "/etc", "/etc/", "/etc/sub", "/etc/.", "/etc/sub/.."])
def test_a_directory_is_refused(volume: Path, path: str) -> None:
    assert refusal(volume, path) == f"{path}: is a directory"


def test_a_file_is_no_directory(volume: Path) -> None:
    for path in ("/etc/messages/", "/etc/messages/.", "/etc/messages/../messages"):
        assert refusal(volume, path) == f"{path}: Not a directory"


def test_a_fifo_is_refused_and_not_waited_for(volume: Path) -> None:
    os.mkfifo(volume / "etc" / "fifo")
    assert refusal(volume, "/etc/fifo") == "/etc/fifo: not a regular file"
    assert refusal(volume, "/etc/fifo/x") == "/etc/fifo/x: Not a directory"


def test_a_socket_is_refused(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(volume / "etc")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    assert refusal(volume, "/etc/socket") == "/etc/socket: not a regular file"


def test_sixteen_mebibytes_are_read_and_not_a_byte_more(volume: Path) -> None:
    large = volume / "etc" / "large"
    large.touch()
    os.truncate(large, LIMIT)
    assert len(Mroot(volume).read("/etc/large")) == LIMIT
    os.truncate(large, LIMIT + 1)
    assert refusal(volume, "/etc/large") == "/etc/large: larger than 16 MiB"


def test_a_file_that_is_not_there_is_named_printable(volume: Path) -> None:
    assert refusal(volume, "/etc/\x1b[31m") == "/etc/\\x1b[31m: No such file or directory"
    assert refusal(volume, "/etc/a\0b") == "/etc/a\\x00b: not a file name"
    assert refusal(volume, "/etc/\udc80\ud800") == "/etc/\\udc80\\ud800: not a file name"
    assert refusal(volume, f"/etc/{'x' * 300}").endswith(": File name too long")


def test_without_its_directory_nothing_is_there(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone", "/etc/x") == "/etc/x: No such file or directory"


def test_a_walk_leaves_no_descriptor_open(volume: Path) -> None:
    (volume / "loop").symlink_to("loop")
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208
    for _ in range(20):
        for path in ("/mroot/loop", "/etc/sub/../../..", "/etc/sub/x", "/etc/sub/../messages/"):
            refusal(volume, path)
        Mroot(volume).read("/etc/messages")
    assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208


def test_names_exchanged_during_the_walk_never_lead_out(volume: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"host secret")
    inside = volume / "dir"
    inside.mkdir()
    (inside / "file").write_bytes(b"inside")
    (volume / "evil").symlink_to(outside)
    done = threading.Event()

    def exchange() -> None:
        while not done.is_set():
            inside.rename(volume / "kept")
            (volume / "evil").rename(inside)
            inside.rename(volume / "evil")
            (volume / "kept").rename(inside)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        for _ in range(2000):
            with suppress(MrootError):
                assert Mroot(volume).read("/mroot/dir/file") == b"inside"
    finally:
        done.set()
        thread.join()
    assert Mroot(volume).read("/mroot/dir/file") == b"inside"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(["mroot", "etc", "..", ".", "", "sub", "messages", "link", "out", "x\0"]),
        max_size=10,
    )
)
def test_no_path_reads_anything_but_the_files_of_the_volume(
    tmp_path: Path, parts: list[str]
) -> None:
    volume = tmp_path / "mroot"
    if not volume.exists():
        (volume / "etc" / "sub").mkdir(parents=True)
        (volume / "etc" / "messages").write_bytes(b"a log\n")
        (volume / "etc" / "link").symlink_to("../../messages")
        (volume / "out").symlink_to("..")
        (tmp_path / "messages").write_bytes(b"host secret")
    try:
        content = Mroot(volume).read("/" + "/".join(parts))
    except MrootError as error:
        content = b"a log\n" if str(error).isprintable() else b""
    assert content == b"a log\n"


def test_a_host_file_is_followed_only_on_request(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", 7, follow=True) == b"content"
    with pytest.raises(UnreadableError, match="not a regular file"):
        read_regular(tmp_path / "link", 7)
    with pytest.raises(UnreadableError, match="larger than 0 KiB"):
        read_regular(tmp_path / "file", 6)
    with pytest.raises(NotThereError):
        read_regular(tmp_path / "nothing", 7)


def test_a_device_is_not_opened() -> None:
    with pytest.raises(UnreadableError, match="not a regular file"):
        read_regular("/dev/zero", LIMIT)


def test_a_file_that_claims_to_be_empty_is_read_no_further_than_the_limit() -> None:
    if not Path("/proc/self/maps").exists():
        pytest.skip("needs /proc")
    assert read_regular("/proc/self/maps", LIMIT)
    with pytest.raises(UnreadableError, match="larger than 1 KiB"):
        read_regular("/proc/self/maps", 1024)
