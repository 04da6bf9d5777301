"""No message quotes a certificate or key file, however damaged, on any way in."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import pytest

from filer.host.quoting import HIDDEN, may_be_secret, named, quoted
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from tests.kit import pki
from tests.kit.console import PASSPHRASE, Account, files_below, plain
from tests.kit.house import House

NAMES = (CLIENT, CLIENT_PRIVATE, ca_name("127.0.0.2"))
RUN = 16
"""The length of a run of private-key characters that must not be shown."""

IDENTITY = pki.client(None)
CERTIFICATE = IDENTITY.certificate_pem()
KEY = IDENTITY.private_pem().replace(CERTIFICATE, b"")
HEADER, *_, FOOTER = KEY.splitlines()
BODY = b"".join(KEY.splitlines()[1:-1])


def labelled(label: bytes) -> bytes:
    return KEY.replace(b"PRIVATE KEY", label)


def der() -> bytes:
    from base64 import b64decode

    return b64decode(BODY)


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "blanks for line ends": lambda pem: pem.replace(b"\n", b" "),
    "no line ends": lambda pem: pem.replace(b"\n", b""),
    "written line ends": lambda pem: pem.replace(b"\n", b"\\n"),
    "in a setting": lambda pem: b'KEY="' + pem.replace(b"\n", b"\\n") + b'"\n',
    "indented": lambda pem: pem.replace(b"\n", b"\n    "),
    "all but the header joined": lambda pem: HEADER + b"\n" + pem.replace(b"\n", b""),
}

DAMAGED_KEYS: dict[str, Callable[[], bytes]] = {
    "no end": lambda: CERTIFICATE + KEY.replace(FOOTER, b""),
    "no end, then another block": lambda: KEY.replace(FOOTER, b"") + CERTIFICATE,
    "no beginning": lambda: CERTIFICATE + KEY.replace(HEADER, b""),
    "neither beginning nor end": lambda: CERTIFICATE + BODY + b"\n",
    "key behind its header": lambda: CERTIFICATE + KEY.replace(HEADER + b"\n", HEADER),
    "key in one line": lambda: b"\n".join((CERTIFICATE + HEADER, BODY, FOOTER, KEY)),
    "twice": lambda: (CERTIFICATE + KEY) * 2,
    "cut short": lambda: CERTIFICATE + KEY[: len(KEY) // 2],
    "key alone": lambda: KEY,
    "binary": der,
    "base64 alone": lambda: BODY,
    "wrong label": lambda: CERTIFICATE + labelled(b"PRIVAT KEY"),
    "wrong label alone": lambda: labelled(b"PRIVAT KEY"),
    "label of a certificate": lambda: labelled(b"CERTIFICATE"),
    "label is the key": lambda: KEY.replace(b"PRIVATE KEY", BODY),
    "label is the key and ends so": lambda: labelled(BODY + b" PRIVATE KEY") + CERTIFICATE,
    "under no known form": lambda: CERTIFICATE + labelled(b"ANY PRIVATE KEY"),
    "ends as something else": lambda: (
        CERTIFICATE + KEY.replace(FOOTER, b"-----END CERTIFICATE-----")
    ),
}


def damaged_files(directory: Path) -> Iterator[Path]:
    """Create each damaged file under each of the names, in a separate directory."""
    contents = {f"key, {how}": make() for how, make in DAMAGED_KEYS.items()}
    for how, damage in DAMAGED.items():
        contents[f"all, {how}"] = damage(CERTIFICATE + KEY)
        contents[f"key, {how}"] = CERTIFICATE + damage(KEY) + b"\n"
    for number, content in enumerate(contents.values()):
        for name in NAMES:
            path = directory / str(number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            yield path


def runs(text: str) -> set[str]:
    """Return the pieces of the key in ``text``, even across line ends."""
    pieces = {BODY.decode()[start : start + RUN] for start in range(len(BODY) - RUN + 1)}
    views = (text, re.sub(r"\s", "", text), re.sub(r"\\[nr]", "", text))
    return {piece for piece in pieces if any(piece in view for view in views)}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return list(damaged_files(tmp_path_factory.mktemp("damaged")))


def installing(files: list[Path]) -> list[str]:
    return [f"keymgr install cert {path}" for path in files]


def by_options(account: Account, files: list[Path]) -> str:
    ended = account.commands(*installing(files))
    assert ended.err.count("keymgr: ") == len(files)
    return ended.out + ended.err


def by_json(account: Account, files: list[Path]) -> str:
    ended = account.run("--format", "json", input="\n".join(installing(files)))
    commands = [each for each in map(json.loads, ended.out.splitlines()) if "command" in each]
    assert [each["status"] for each in commands] == [1] * len(files)
    return ended.out + ended.err


def by_recording(account: Account, files: list[Path]) -> str:
    record = account.home / "recorded.cast"
    ended = account.run("--record", record, "-x", input="\n".join(installing(files)))
    assert record.read_text(encoding="utf-8").count("keymgr: ") == len(files)
    return ended.out + ended.err


def at_a_terminal(account: Account, files: list[Path]) -> str:
    with account.terminal(columns=500) as terminal:
        terminal.booted()
        for line in installing(files):
            assert "keymgr: " in terminal.enter(line)
        assert terminal.leave() == 0
    return terminal.seen + plain(terminal.seen)


@pytest.mark.parametrize("way", [by_options, by_json, by_recording, at_a_terminal])
def test_no_damaged_key_file_is_installed_or_quoted(
    way: Callable[[Account, list[Path]], str], account: Account, files: list[Path]
) -> None:
    shown = way(account, files)

    assert runs(BODY.decode())
    assert runs(shown) == set()
    kept = [path for path in files_below(account.home) if path.suffix != ".sed"]
    assert {"messages", "filer.toml"} <= {path.name for path in kept}
    assert [path for path in kept if runs(path.read_bytes().decode("latin-1"))] == []
    assert not list((account.root / "mroot" / "etc" / "keymgr" / "cert").iterdir())


def test_a_damaged_copy_in_the_filer_is_neither_shown_nor_quoted(
    account: Account, files: list[Path]
) -> None:
    lines = (
        "keymgr list cert",
        "key_manager add -key_server 127.0.0.2",
        f"rdfile /etc/keymgr/cert/{CLIENT_PRIVATE}",
    )
    kept = account.root / "mroot" / "etc" / "keymgr" / "cert"
    with House(account.root) as house:
        house.boot()
        for _, damaged in groupby(files, key=lambda path: path.parent):
            for path in damaged:
                shutil.copy(path, kept / path.name)
            ended = [house.run(line) for line in lines]
            assert any(each.status for each in ended)
            assert runs("".join(each.out + each.err for each in ended)) == set(), path


def test_comments_between_the_blocks_are_not_part_of_a_key(account: Account) -> None:
    comments = (
        b"# See example.com/pki/IssuingAuthorityNumber2/certificates/RootOfTheHouse\n",
        b"Bag Attributes\n    localKeyID: 54 69 6D 65 20 31 36 30\n",
        b"SHA256 Fingerprint\n" + b"5DD026075DD02667" * 4 + b"\n",
        b"        Signature Algorithm: ecdsa-with-SHA256\n",
    )
    path = account.home / CLIENT
    path.write_bytes(b"".join(comments) + CERTIFICATE + b"".join(comments))
    assert account.commands(f"keymgr install cert {path}") == ("", "", 0)


def test_a_key_that_is_pasted_at_the_prompt_is_not_named(account: Account) -> None:
    pasted = (CERTIFICATE + KEY).decode()
    for arguments in ((), ("--format", "json")):
        ended = account.run(*arguments, input=pasted)
        assert ended.status == 1
        assert runs(ended.out + ended.err) == set()
        assert HIDDEN in ended.out + ended.err


MISPLACED = (
    PASSPHRASE,
    "Correct horse; battery-1!",
    f"help {PASSPHRASE}",
    f"man {PASSPHRASE}",
    f"options {PASSPHRASE}",
    f"rdfile {PASSPHRASE}",
    f"key_manager rekey -manual {PASSPHRASE}",
    f"key_manager {PASSPHRASE}",
    f"key_manager add -key_server {PASSPHRASE}",
    f"disk encrypt show {PASSPHRASE}",
    f"keymgr install cert {PASSPHRASE}",
    f"keymgr delete cert {PASSPHRASE}",
)


def test_a_passphrase_in_a_wrong_place_is_not_named(account: Account) -> None:
    lines = [f"-c{line}" for line in MISPLACED]
    plain_ones, as_json = account.run(*lines), account.run("--format", "json", *lines)
    answers = [each for each in as_json.out.splitlines() if '"command"' in each]
    assert len(answers) == len(MISPLACED) + 1  # a semicolon ends a command
    assert [each for each in answers if HIDDEN not in each] == []
    assert plain_ones.err.count(HIDDEN) >= len(answers)
    for ended in (plain_ones, as_json):
        assert ended.status == 1
        said = ended.out + ended.err
        assert not any(part in said for part in (PASSPHRASE, "Correct", "battery"))
    assert not any(PASSPHRASE.encode() in path.read_bytes() for path in files_below(account.root))


def test_a_passphrase_as_the_answer_to_another_question_is_not_named(account: Account) -> None:
    for path, content in ((CLIENT, CERTIFICATE), (CLIENT_PRIVATE, CERTIFICATE + KEY)):
        (account.home / path).write_bytes(content)
        assert account.commands(f"keymgr install cert {account.home / path}").status == 0
    ended = account.script("key_manager setup", PASSPHRASE)
    assert "is not an IP address" in ended.out
    assert PASSPHRASE not in ended.out + ended.err


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "Disk",
        "5DD026075DD026670101000000000000BAF6B874A7407A36751342CB27F4B8B9",
        "0c.00.1",
        "keys.example.com",
        "sysconfig-with-a-long-name",
    ],
)
def test_what_is_no_secret_is_named(text: str) -> None:
    assert not may_be_secret(text)
    assert (named(text), quoted(text)) == (text, f'"{text}"')


def test_a_misspelt_command_is_named(account: Account) -> None:
    assert account.commands("Disk encrypt show 0c.00.1").err.startswith("Disk not found.")


def test_a_long_word_is_named_in_part() -> None:
    assert named("x" * 1000) == "x" * 64 + "..."
    assert named("\x1b[2J") == "\\x1b[2J"
