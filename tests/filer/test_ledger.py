"""A ledger of throw-away pairs: what was edited or damaged is no ledger, and costs one line."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from filer.host.durable import Storage
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.pair import KeyPair
from filer.throw_away.ledger import Digests, Entry, Ledger, LedgerError, Reach, read

PROGRAM = "filer-qualify"
REACH = Reach("/certs", 5696, 5.0, "/other.pem", ["user", "/password"], "fingerprint")
ENTRY = Entry("127.0.0.1", "own", "FF" * 32, "00" * 32)
WRONG: dict[str, list[Any]] = {
    "schema": ["filer-storm-ledger/1", None],
    "salt": ["not hexadecimal", 5],
    "certs": ["a\0b", 5, None],
    "port": [0, 65536, 10**400, 5696.0, True, "x", None],
    "timeout": [0, -1, float("inf"), float("nan"), 3601, "5", True, None],
    "other_cert": ["\x1b[31m", 5, [], 0],
    "login": ["user", "", [], ["user"], ["user", 5], ["user", "a\0b"], 5],
    "client": [5, None],
    "key_server": ["host.example.com", "\x1b[31m", "", 5, None],
    "owner": [5, None, "a\nb"],
    "name": ["\x1b[31m", "\ud800", 5, None],
    "digest": [5, None],
    "unknown": [1],
}


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger"
    written = Ledger(PROGRAM, path, REACH, Digests(b"salt"), Storage())
    written.create()
    written.add("127.0.0.1", "own", [KeyPair("FF" * 32, "tag", AuthenticationKey(b"k" * 32))])
    return path


def test_what_was_written_is_read(ledger: Path) -> None:
    reach, digests, (entry,) = read(PROGRAM, ledger)
    assert asdict(reach) == asdict(REACH)
    assert (digests.salt, entry.key_server, entry.name) == (b"salt", "127.0.0.1", "FF" * 32)


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in WRONG.items() for value in values]
)
def test_a_field_that_no_run_writes_is_refused(ledger: Path, field: str, value: object) -> None:
    head, entry = map(json.loads, ledger.read_text().splitlines())
    (entry if field in Entry._fields else head)[field] = value
    ledger.write_text(f"{json.dumps(head)}\n{json.dumps(entry)}\n")
    with pytest.raises(LedgerError, match="not a ledger of filer-qualify"):
        read(PROGRAM, ledger)


@pytest.mark.parametrize(
    "text", ["", "[]\n", "5\n", "{}\n", "{\n", "[" * 100_000 + "\n", "\xff\n", "{}\n" * 2]
)
def test_any_other_file_is_refused(ledger: Path, text: str) -> None:
    ledger.write_text(text, encoding="latin-1")
    with pytest.raises(LedgerError, match="not a ledger of filer-qualify"):
        read(PROGRAM, ledger)
