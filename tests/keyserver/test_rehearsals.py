"""What an administrator rehearses: certificates issued again, other clients, keys destroyed."""

import os
import pty
import re
import shutil
import signal
import sqlite3
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from filer.keyserver.__main__ import main
from filer.keyserver.authority import (
    AUTHORITY_PRIVATE,
    AuthorityError,
    Identity,
    prepare,
    renew,
    server_name,
)
from filer.keyserver.server import KeyServer, KeyServerError
from filer.keyserver.stored_keys import KeyStore, find
from filer.registration.pem import CLIENT, CLIENT_PRIVATE
from tests.conftest import StartKeyServers
from tests.kit import pki, trial_servers
from tests.kit.pairs import pykmip
from tests.kit.paths import CHECKOUT
from tests.kit.trial_servers import (
    KEY_ID,
    RESPONSE,
    SECRET,
    Program,
    Run,
    ask,
    changed,
    client_context,
    located,
    mode,
    register,
    same_key,
    tls,
)

OTHER_ID = KEY_ID[:-1] + "4"
WARNING = "A disk that is locked with a destroyed key cannot be opened again.\n"
QUESTION = 'Type "yes" to destroy: '


run = trial_servers.run


def identity(directory: Path, name: str) -> Identity:
    return Identity.parse((directory / name).read_bytes())


def served(server: KeyServer) -> bytes | None:
    """Return the certificate (DER) that a key server presents."""
    with tls(server) as connection:
        return connection.getpeercert(binary_form=True)


def der(identity: Identity) -> bytes:
    return ssl.PEM_cert_to_DER_cert(identity.certificate_pem().decode())


class TestRenew:
    def test_a_running_key_server_uses_the_new_certificate(
        self, key_servers: StartKeyServers, run: Run
    ) -> None:
        (server,) = key_servers(1)
        directory, name = server.directory, server_name(server.address)
        filer = shutil.copytree(directory, directory.with_name("filer"))
        before = {path.name: path.read_bytes() for path in directory.glob("*.pem")}
        with tls(server) as connected:
            options = ("--dir", directory, "--address", server.address, "--client", "--days", "20")
            outcome = run("renew", *options)
            connected.sendall(b"\x42\x00\x78\x01\x00\x00\x00\x08" + b"\xff" * 8)
            assert connected.recv(4096).startswith(RESPONSE)  # no session was ended
        assert sorted(changed(directory, before)) == sorted([name, CLIENT, CLIENT_PRIVATE])
        for each in (name, CLIENT_PRIVATE):
            new = identity(directory, each)
            assert same_key(new, Identity.parse(before[each]))
            left = new.certificate.not_valid_after_utc - datetime.now(UTC)
            assert timedelta(days=19.9) < left <= timedelta(days=20)
        assert served(server) == der(identity(directory, name))
        # A filer that has installed the earlier files needs nothing new.
        assert ask(server, client_context(server, filer / CLIENT_PRIVATE)).startswith(RESPONSE)
        assert (outcome.status, outcome.err) == (0, "")
        assert [line.partition(" until 20")[0] for line in outcome.out.splitlines()] == [
            f"{each}: issued again with the same key, valid" for each in (CLIENT_PRIVATE, name)
        ]

    def test_all_are_renewed_unless_some_are_chosen(self, tmp_path: Path, run: Run) -> None:
        prepare(tmp_path, ["127.0.0.2", "127.0.0.3"])
        first, second = "127.0.0.2_server.pem", "127.0.0.3_server.pem"
        client = [CLIENT, CLIENT_PRIVATE]
        for arguments, expected in (
            (["--dir", tmp_path, "renew"], [first, second, *client]),
            (["--dir", tmp_path, "--address", "127.0.0.3", "renew"], [second]),
            (["renew", "--client", "--dir", tmp_path], client),
            (
                ["--address", "127.0.0.2", "renew", "--address", "127.0.0.3", "--dir", tmp_path],
                [first, second],
            ),
        ):
            before = {path.name: path.read_bytes() for path in tmp_path.glob("*.pem")}
            assert run(*arguments).status == 0
            assert sorted(changed(tmp_path, before)) == expected

    def test_an_expired_authority_is_renewed_too(self, tmp_path: Path) -> None:
        now = datetime.now(UTC)
        prepare(tmp_path, ["127.0.0.2"], now=now - timedelta(days=11 * 365))
        before = identity(tmp_path, AUTHORITY_PRIVATE)
        renew(tmp_path, client=True)
        assert same_key(identity(tmp_path, AUTHORITY_PRIVATE), before)
        assert identity(tmp_path, AUTHORITY_PRIVATE).problem(now) is None

    def test_what_is_missing_is_named(self, tmp_path: Path, run: Run) -> None:
        remedy = "no certificate to renew; filer-keyserver creates it when it starts"
        assert run("renew", "--dir", tmp_path) == (
            1,
            "",
            f"filer-keyserver: {tmp_path}: {remedy}\n",
        )
        prepare(tmp_path, ["127.0.0.2"])
        with KeyServer(tmp_path, "127.0.0.2", port=0):
            pass
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        missing = tmp_path / "127.0.0.3_server.pem"
        options = ("--dir", tmp_path, "--address", "127.0.0.2", "--address", "127.0.0.3")
        assert run("renew", *options) == (1, "", f"filer-keyserver: {missing}: {remedy}\n")
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
        (tmp_path / AUTHORITY_PRIVATE).unlink()
        with pytest.raises(AuthorityError, match="missing, but it issued"):
            renew(tmp_path)

    def test_an_expired_client_certificate_can_be_rehearsed(
        self, key_servers: StartKeyServers, run: Run
    ) -> None:
        (server,) = key_servers(1)
        run("renew", "--dir", server.directory, "--client", "--days", "0")
        with pytest.raises(ssl.SSLError, match=r"(?i)alert certificate expired"):
            ask(server)
        run("renew", "--dir", server.directory, "--client")
        assert ask(server).startswith(RESPONSE)

    @pytest.mark.parametrize(
        ("name", "damage"),
        [
            ("127.0.0.2_CA.pem", b"garbage"),
            ("127.0.0.2_CA.pem", None),
            ("127.0.0.2_server.pem", pki.encrypted_private_pem(pki.client(None), b"passphrase")),
        ],
        ids=["garbage", "missing", "encrypted"],
    )
    def test_unusable_files_leave_a_running_key_server_as_it_is(
        self, authority: Path, tmp_path: Path, name: str, damage: bytes | None
    ) -> None:
        directory, told = shutil.copytree(authority, tmp_path / "keys"), list[str]()
        with KeyServer(directory, "127.0.0.2", port=0, complain=told.append) as server:
            context = client_context(server, directory / CLIENT_PRIVATE)
            path = directory / name
            whole = path.read_bytes()
            path.unlink()
            if damage is not None:
                path.write_bytes(damage)
            for _ in range(2):
                assert ask(server, context).startswith(RESPONSE)
            (line,) = told
            assert line.startswith(f"{path}: ")
            assert line.endswith("; key server 127.0.0.2 uses the earlier certificates")
            path.write_bytes(whole)
            assert ask(server, context).startswith(RESPONSE)
            assert told == [line]


class TestClientAuthority:
    @pytest.mark.parametrize("kind", ["root", "intermediate", "several"])
    def test_its_clients_are_accepted_and_the_own_client_too(
        self, authority: Path, tmp_path: Path, kind: str
    ) -> None:
        root = pki.authority("root")
        issuer = pki.authority("between", issuer=root) if kind == "intermediate" else root
        trusted = [pki.authority("another"), root] if kind == "several" else [issuer]
        client_ca, client = tmp_path / "ca.pem", tmp_path / "client.pem"
        client_ca.write_bytes(b"".join(each.certificate_pem() for each in trusted))
        client.write_bytes(pki.client(issuer, "company").private_pem())
        directory = shutil.copytree(authority, tmp_path / "keys")
        with KeyServer(directory, "127.0.0.2", port=0, client_ca=client_ca) as server:
            certificate = der(identity(directory, server_name(server.address)))
            assert served(server) == certificate
            assert ask(server, client_context(server, client)).startswith(RESPONSE)
            assert ask(server, client_context(server, directory / CLIENT_PRIVATE))
            (tmp_path / "x.pem").write_bytes(pki.client(pki.authority(), "company").private_pem())
            with pytest.raises(ssl.SSLError, match=r"(?i)alert unknown ca"):
                ask(server, client_context(server, tmp_path / "x.pem"))
            shutil.copy(client, directory / "company.pem")
            with pykmip(server, "company.pem", "company.pem") as other:
                register(other, SECRET)
                assert len(located(other)) == 1
            with pykmip(server) as own:
                assert located(own) == []
        with (
            KeyServer(directory, "127.0.0.2", port=0) as server,
            pytest.raises(ssl.SSLError, match=r"(?i)alert unknown ca"),
        ):
            ask(server, client_context(server, client))

    @pytest.mark.parametrize("content", [b"", b"garbage", None])
    def test_an_unusable_file_is_refused(
        self, authority: Path, tmp_path: Path, content: bytes | None
    ) -> None:
        directory = shutil.copytree(authority, tmp_path / "keys")
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_bytes(content)
        reason = "No such file" if content is None else "not usable for a key server; it must have"
        with pytest.raises(KeyServerError, match=f"^{re.escape(str(path))}: {reason}"):
            KeyServer(directory, "127.0.0.2", port=0, client_ca=path).start()

    def test_a_fifo_is_refused_and_stops_no_running_server(
        self, authority: Path, tmp_path: Path
    ) -> None:
        directory, path = shutil.copytree(authority, tmp_path / "keys"), tmp_path / "ca.pem"
        os.mkfifo(path)
        with pytest.raises(KeyServerError, match=f"^{re.escape(str(path))}: not a regular file$"):
            KeyServer(directory, "127.0.0.2", port=0, client_ca=path).start()
        path.unlink()
        path.write_bytes(pki.authority().certificate_pem())
        told = list[str]()
        server = KeyServer(directory, "127.0.0.2", port=0, client_ca=path, complain=told.append)
        with server:
            path.unlink()
            os.mkfifo(path)
            assert ask(server, client_context(server, directory / CLIENT_PRIVATE))
        assert told[0] == (
            f"{path}: not a regular file; key server 127.0.0.2 uses the earlier certificates"
        )

    def test_the_program_takes_it(self, tmp_path: Path) -> None:
        other = pki.authority()
        (tmp_path / "ca.pem").write_bytes(other.certificate_pem())
        (tmp_path / "client.pem").write_bytes(pki.client(other).private_pem())
        options = ("--dir", tmp_path / "keys", "--port", "0", "--days", "3")
        with Program(tmp_path, *map(str, options), f"--client-ca={tmp_path}/ca.pem") as program:
            told = re.search(r"port (\d+)", program.line())
            assert told is not None
            server = KeyServer(tmp_path / "keys", "127.0.0.1", int(told[1]))
            assert ask(server, client_context(server, tmp_path / "client.pem"))
        left = identity(tmp_path / "keys", CLIENT_PRIVATE).certificate.not_valid_after_utc
        assert left < datetime.now(UTC) + timedelta(days=3)


class TestReplacing:
    def test_the_program_says_what_it_replaces(self, tmp_path: Path) -> None:
        prepare(tmp_path, ["127.0.0.1"], now=datetime.now(UTC) + timedelta(days=11 * 365))
        with Program(tmp_path, "--dir", str(tmp_path), "--port", "0") as program:
            assert program.line().startswith("Key server 127.0.0.1 listens")
            program.process.terminate()
            status, _, err = program.end()
        assert status == 0
        assert [line.split(" 20")[0] for line in err.splitlines()] == [
            f"filer-keyserver: {name}: not valid before"
            for name in (AUTHORITY_PRIVATE, CLIENT_PRIVATE, "127.0.0.1_server.pem")
        ]

    def test_a_missing_authority_costs_one_line_and_no_start(
        self, tmp_path: Path, run: Run
    ) -> None:
        prepare(tmp_path, ["127.0.0.1"])
        with KeyServer(tmp_path, port=0):
            pass
        (tmp_path / AUTHORITY_PRIVATE).unlink()
        status, out, err = run("--dir", tmp_path, "--port", "0")
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert "authority_private.pem: missing, but it issued 127.0.0.1_CA.pem; put it back" in err


@pytest.fixture
def stored(key_servers: StartKeyServers) -> list[KeyServer]:
    """Give two running key servers, each with the same two keys."""
    servers = key_servers(2)
    for server in servers:
        with pykmip(server) as client:
            client.activate(register(client, f"{SECRET}-1"))
            register(client, f"{SECRET}-2", OTHER_ID)
    return servers


def key_ids(server: KeyServer) -> list[str]:
    return [key.key_id for key in KeyStore(server.address, server.store).listed()]


class TestStoredKeys:
    def test_they_are_listed_without_key_material(self, stored: list[KeyServer], run: Run) -> None:
        before = datetime.now(UTC) - timedelta(minutes=10)
        status, out, err = run("list", "--dir", stored[0].directory)
        head, *rows = [re.split(r"  +", line) for line in out.splitlines()]
        assert (status, err) == (0, "")
        assert head == [
            *("ADDRESS", "IDENTIFIER", "STATE", "REGISTERED (UTC)", "TAG", "OWNER", "KEY ID")
        ]
        assert [row[:3] + row[4:] for row in rows] == [
            [server.address, number, state, "filer1", "filer", key_id]
            for server in stored
            for number, state, key_id in (
                ("1", "active", KEY_ID),
                ("2", "pre-active", OTHER_ID),
            )
        ]
        for row in rows:
            moment = datetime.strptime(row[3], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
            assert before < moment <= datetime.now(UTC)
        assert SECRET not in out
        narrowed = run("--address", stored[1].address, "list", "--dir", stored[0].directory).out
        assert narrowed.splitlines()[1:] == out.splitlines()[3:]

    def test_what_a_client_sent_cannot_reach_a_terminal(
        self, key_servers: StartKeyServers, run: Run
    ) -> None:
        (server,) = key_servers(1)
        with pykmip(server) as client:
            register(client, SECRET, "a\x1b[31m\nb")
        status, out, _ = run("list", "--dir", server.directory)
        assert (status, out.count("\n")) == (0, 2)
        assert "a\\x1b[31m\\nb" in out

    def test_objects_of_all_kinds_are_listed_and_destroyed(
        self, key_servers: StartKeyServers, run: Run
    ) -> None:
        from kmip.core.enums import CryptographicAlgorithm, OpaqueDataType
        from kmip.pie.objects import OpaqueObject

        (server,) = key_servers(1)
        with pykmip(server) as client:
            client.register(OpaqueObject(b"opaque", OpaqueDataType.NONE))
            client.create(CryptographicAlgorithm.AES, 256)
            where = ("--dir", server.directory, "--address", server.address)
            rows = run("list", *where).out.splitlines()[1:]
            assert [row.split()[2] for row in rows] == ["-", "pre-active"]
            assert run("destroy", *where, "--yes", "1", "2").status == 0
            assert key_ids(server) == []

    @pytest.mark.parametrize("how", ["program", "client"])
    def test_a_destroyed_key_is_no_longer_in_the_file(
        self, stored: list[KeyServer], run: Run, how: str
    ) -> None:
        from kmip.core.enums import RevocationReasonCode

        server = stored[0]
        secret = f"{SECRET}-1".encode()
        assert secret in server.store.read_bytes()
        with pykmip(server) as client:
            if how == "program":
                options = ("--dir", server.directory, "--address", server.address, "--yes")
                assert run("destroy", *options, "1").status == 0
                with closing(sqlite3.connect(server.store)) as store:
                    for table in ("managed_objects", "crypto_objects", "secret_data_objects"):
                        assert list(store.execute(f"SELECT uid FROM {table}")) == [(2,)]
                    names = store.execute("SELECT mo_uid FROM managed_object_names")
                    assert list(names) == [(2,)]
            else:
                client.revoke(RevocationReasonCode.CESSATION_OF_OPERATION, "1")
                client.destroy("1")
            assert located(client) == ["2"]
        assert secret not in server.store.read_bytes()
        assert key_ids(server) == [OTHER_ID]
        assert key_ids(stored[1]) == [KEY_ID, OTHER_ID]
        assert mode(server.store) == 0o600

    def test_a_key_id_is_destroyed_on_every_key_server(
        self, stored: list[KeyServer], run: Run
    ) -> None:
        directory = stored[0].directory
        for server in stored:
            server.stop()
        outcome = run("--dir", directory, "destroy", KEY_ID.lower(), KEY_ID, "--yes")
        assert outcome == (
            0,
            "".join(f"Key server {each.address}: destroyed 1 {KEY_ID}\n" for each in stored),
            "",
        )
        assert [key_ids(server) for server in stored] == [[OTHER_ID]] * 2
        for server in stored:
            server.start()
            with pykmip(server) as client:
                assert client.get("2").value == f"{SECRET}-2".encode()

    @pytest.mark.parametrize(
        ("words", "problem"),
        [
            (["1"], "1: several key servers use this identifier; choose one with --address"),
            ([KEY_ID, "x\x1b"], "x\\x1b: no such key; nothing was destroyed"),
            ([KEY_ID, "0x0"], "0x0: no such key; nothing was destroyed"),
            ([KEY_ID[:-1]], f"{KEY_ID[:-1]}: no such key; nothing was destroyed"),
        ],
    )
    def test_what_is_not_clear_destroys_nothing(
        self, stored: list[KeyServer], run: Run, words: list[str], problem: str
    ) -> None:
        outcome = run("destroy", "--dir", stored[0].directory, "--yes", *words)
        assert outcome == (1, "", f"filer-keyserver: {problem}\n")
        assert [key_ids(server) for server in stored] == [[KEY_ID, OTHER_ID]] * 2

    def test_two_keys_with_one_key_id_are_told_apart(
        self, key_servers: StartKeyServers, run: Run
    ) -> None:
        (server,) = key_servers(1)
        with pykmip(server) as client:
            for number in (1, 2):
                register(client, f"{SECRET}-{number}")
            options = ("--dir", server.directory, "--address", server.address, "--yes")
            refused = run("destroy", *options, KEY_ID)
            assert refused.err == (
                f"filer-keyserver: {KEY_ID}: several keys have this key ID; "
                "choose by identifier: 1, 2\n"
            )
            assert run("destroy", *options, "2").status == 0
            assert located(client) == ["1"]

    def test_a_key_that_was_just_destroyed(self, stored: list[KeyServer]) -> None:
        store = KeyStore(stored[0].address, stored[0].store)
        both = [key.identifier for key in find([store], [KEY_ID, OTHER_ID])]
        store.destroy(both[:1])
        with pytest.raises(Exception, match="destroyed by another program; nothing was destroyed"):
            store.destroy(both)
        assert key_ids(stored[0]) == [OTHER_ID]

    def test_keys_are_stored_and_destroyed_at_the_same_time(
        self, key_servers: StartKeyServers
    ) -> None:
        (server,) = key_servers(1)
        store, number = KeyStore(server.address, server.store), 20

        def fill(name: str) -> None:
            with pykmip(server) as client:
                for count in range(number):
                    client.activate(register(client, f"{SECRET}-{name}-{count}", f"{name}{count}"))

        def destroy() -> None:
            for key in store.listed():
                if key.key_id.startswith("old"):
                    store.destroy([key.identifier])
                    store.listed()

        fill("old")
        with ThreadPoolExecutor(2) as pool:
            for each in [pool.submit(fill, "new"), pool.submit(destroy)]:
                each.result()
        assert sorted(key_ids(server)) == sorted(f"new{count}" for count in range(number))
        with closing(sqlite3.connect(server.store)) as check:
            assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        with pykmip(server) as client:
            values = {client.get(uid).value for uid in located(client)}
        assert values == {f"{SECRET}-new-{count}".encode() for count in range(number)}

    def test_without_a_terminal_it_needs_yes(
        self, stored: list[KeyServer], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as caught:
            main(["destroy", "--dir", str(stored[0].directory), KEY_ID])
        assert caught.value.code == 2
        error = "destroy: without a terminal to ask at, it needs --yes"
        assert capsys.readouterr().err.endswith(f"filer-keyserver: error: {error}\n")
        assert key_ids(stored[0]) == [KEY_ID, OTHER_ID]

    @pytest.mark.parametrize(
        ("answer", "status", "left"),
        [
            (b"yes\n", 0, [OTHER_ID]),
            (b"y\n", 1, [KEY_ID, OTHER_ID]),
            (b"\x04", 1, [KEY_ID, OTHER_ID]),
            (None, 130, [KEY_ID, OTHER_ID]),
        ],
        ids=["yes", "y", "Ctrl-D", "Ctrl-C"],
    )
    def test_at_a_terminal_it_asks(
        self, stored: list[KeyServer], answer: bytes | None, status: int, left: list[str]
    ) -> None:
        command = [sys.executable, "-m", "filer.keyserver", "destroy"]
        command += ["--dir", str(stored[0].directory), "--address", stored[0].address, KEY_ID]
        keyboard, terminal = pty.openpty()
        with subprocess.Popen(
            command,
            cwd=CHECKOUT,
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as program:
            os.close(terminal)
            assert program.stdout is not None
            assert program.stderr is not None
            assert program.stdout.readline().startswith(b"ADDRESS")
            assert KEY_ID.encode() in program.stdout.readline()
            told = b""
            while not told.endswith(QUESTION.encode()):
                told += program.stderr.read(1)
            if answer is None:
                program.send_signal(signal.SIGINT)
            else:
                os.write(keyboard, answer)
            out, err = program.communicate(timeout=20)
        os.close(keyboard)
        assert (told.decode(), program.returncode) == (WARNING + QUESTION, status)
        destroyed = f"Key server {stored[0].address}: destroyed 1 {KEY_ID}\n"
        assert out.decode() == (destroyed if status == 0 else "")
        nothing = "filer-keyserver: nothing was destroyed\n" if status == 1 else ""
        assert err.decode() == nothing
        assert key_ids(stored[0]) == left

    @pytest.mark.parametrize("change", ["state = 99", "initial_date = 1e18"])
    def test_a_damaged_store_costs_one_line(
        self, stored: list[KeyServer], run: Run, change: str
    ) -> None:
        table = "crypto_objects" if change.startswith("state") else "managed_objects"
        with closing(sqlite3.connect(stored[0].store)) as store, store:
            store.execute(f"UPDATE {table} SET {change}")
        for arguments in (["list"], ["destroy", "--yes", "1"]):
            status, out, err = run(*arguments, "--dir", stored[0].directory)
            assert (status, out, err.count("\n")) == (1, "", 1)
            assert err.startswith(f"filer-keyserver: {stored[0].store}: damaged: ")

    @pytest.mark.parametrize("kind", ["foreign", "empty", "garbage", "missing", "link"])
    def test_a_file_that_is_not_a_store_is_refused(
        self, authority: Path, tmp_path: Path, run: Run, kind: str
    ) -> None:
        directory = shutil.copytree(authority, tmp_path / "keys")
        path = directory / "127.0.0.2.sqlite"
        path.unlink()
        problem = {
            "foreign": 'not the store of a key server (it has the table "t");',
            "empty": "not the store of a key server (it has no table",
            "garbage": "file is not a database",
            "missing": "no such store",
            "link": "is a link",
        }[kind]
        if kind == "foreign":
            with closing(sqlite3.connect(path)) as other, other:
                other.execute("CREATE TABLE t (a)")
        elif kind in ("empty", "garbage"):
            path.write_bytes(b"garbage" * 1000 if kind == "garbage" else b"")
        elif kind == "link":
            path.symlink_to(directory / "127.0.0.3.sqlite")
        for command in (["list"], ["destroy", "--yes", KEY_ID]):
            status, out, err = run(*command, "--dir", directory, "--address", "127.0.0.2")
            assert (status, out, err.count("\n")) == (1, "", 1)
            assert err.startswith(f"filer-keyserver: {path}: {problem}")
        assert path.exists() == (kind != "missing")

    def test_a_directory_without_stores(self, tmp_path: Path, run: Run) -> None:
        refused = f"filer-keyserver: {tmp_path}: no store of a key server\n"
        assert run("list", "--dir", tmp_path) == (1, "", refused)
        missing = tmp_path / "missing"
        refused = f"filer-keyserver: {missing}: No such file or directory\n"
        assert run("list", "--dir", missing) == (1, "", refused)
        assert not missing.exists()
