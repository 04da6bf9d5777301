"""The password file for key servers that require a password."""

from collections.abc import Callable
from pathlib import Path

import pytest

from filer.host.toml_file import ConfigError
from filer.kmip.login import Login, Password, read_login
from tests.kit.house import House, settings

SECRET = "Rosebud 1941"
OF_ROOT = "password_file keys/kmip-password"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    directory = tmp_path / "keys"
    directory.mkdir(mode=0o700)
    path = directory / "kmip-password"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_password_is_the_only_line(end: str, file: Path) -> None:
    file.write_bytes(f"{SECRET}{end}".encode())
    login = read_login("storage", file)
    assert login == Login("storage", Password(SECRET.encode()))
    assert SECRET not in f"{login} {login!r} {login.password}"


def make_a_link(file: Path) -> None:
    target = file.rename(file.with_name("elsewhere"))
    file.symlink_to(target)


def make_a_directory(file: Path) -> None:
    file.unlink()
    file.mkdir(0o700)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "readable by others": (
        lambda file: file.chmod(0o640),
        f"{OF_ROOT}: others can read it; run chmod go-rwx on it",
    ),
    "writable by others": (
        lambda file: file.chmod(0o620),
        f"{OF_ROOT}: others can change it; run chmod go-rwx on it",
    ),
    "in a directory of others": (
        lambda file: file.parent.chmod(0o770),
        "password_file keys/: others can change it; run chmod go-rwx on it",
    ),
    "a link": (make_a_link, f"{OF_ROOT}: a symbolic link, which is not followed"),
    "missing": (
        Path.unlink,
        "password_file kmip-password: No such file or directory",
    ),
    "a directory": (
        make_a_directory,
        "password_file kmip-password: is a directory",
    ),
    "empty": (
        lambda file: file.write_text("\n"),
        "password_file kmip-password: must have one line of printable ASCII characters",
    ),
    "two lines": (
        lambda file: file.write_text(f"{SECRET}\n{SECRET}\n"),
        "password_file kmip-password: must have one line of printable ASCII characters",
    ),
    "not ASCII": (
        lambda file: file.write_text(f"{SECRET}ü"),
        "password_file kmip-password: must have one line of printable ASCII characters",
    ),
    "too large": (
        lambda file: file.write_text(SECRET * 200),
        "password_file kmip-password: larger than 1 KiB",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_file_that_is_open_or_has_no_password_is_refused(what: str, file: Path) -> None:
    change, problem = CHANGES[what]
    change(file)
    with pytest.raises(ConfigError) as caught:
        read_login("storage", file)
    assert str(caught.value) == f"filer.toml: {problem}"
    assert SECRET not in f"{caught.value!r} {caught.value.__context__}"


def test_the_filer_does_not_start_with_an_open_file(file: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    toml = f'{settings()}user = "storage"\npassword_file = "{file}"\n'
    (root / "filer.toml").write_text(toml)
    with House(root) as house:
        file.chmod(0o644)
        with pytest.raises(ConfigError, match="others can read it"):
            house.boot()
        file.chmod(0o600)
        house.boot()
        assert house.filer.login == Login("storage", Password(SECRET.encode()))
