"""The KMIP test server: its certificates, the server itself, and its program."""

import os
import re
import shutil
import signal
import socket
import sqlite3
import ssl
import struct
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from filer.keyserver.__main__ import main
from filer.keyserver.authority import (
    AUTHORITY_PRIVATE,
    CLIENT_NAME,
    AuthorityError,
    Identity,
    prepare,
    renew,
    server_name,
)
from filer.keyserver.engine import Engine
from filer.keyserver.server import AddressInUseError, KeyServer, KeyServerError, start_together
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from tests.conftest import ADDRESSES, IPV6, StartKeyServers
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

run = trial_servers.run


def ends(connection: socket.socket) -> bool:
    """Return whether the server closes ``connection``, after any data."""
    with suppress(ConnectionResetError):
        while connection.recv(4096):
            pass
    return True


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def sessions() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "client"]


class TestCertificates:
    def test_a_second_time_everything_is_kept(self, tmp_path: Path) -> None:
        prepare(tmp_path, ["127.0.0.2"])
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        prepare(tmp_path, ["127.0.0.2"])
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
        assert set(before) == {
            "client.pem",
            "client_private.pem",
            "127.0.0.2_CA.pem",
            "127.0.0.2_server.pem",
            "authority_private.pem",
        }

    def test_a_new_address_has_its_certificate_from_the_kept_authority(
        self, tmp_path: Path
    ) -> None:
        prepare(tmp_path, ["127.0.0.2"])
        client = (tmp_path / CLIENT).read_bytes()
        prepare(tmp_path, ["127.0.0.3", "0:0::1"])
        assert (tmp_path / CLIENT).read_bytes() == client
        authority = (tmp_path / ca_name("127.0.0.2")).read_bytes()
        assert (tmp_path / ca_name("127.0.0.3")).read_bytes() == authority
        assert (tmp_path / ca_name("::1")).read_bytes() == authority

    def test_the_client_files_belong_together(self, tmp_path: Path) -> None:
        prepare(tmp_path, [])
        private = (tmp_path / CLIENT_PRIVATE).read_bytes()
        assert private.startswith(b"-----BEGIN PRIVATE KEY-----\n")
        assert private.endswith((tmp_path / CLIENT).read_bytes())
        assert Identity.parse(private).certificate.subject.rfc4514_string() == f"CN={CLIENT_NAME}"

    @pytest.mark.parametrize(
        ("years", "renewed"),
        [
            (1, []),
            (3, ["127.0.0.2_server.pem", "client.pem", "client_private.pem"]),
            (
                11,
                [
                    "127.0.0.2_CA.pem",
                    "127.0.0.2_server.pem",
                    "authority_private.pem",
                    "client.pem",
                    "client_private.pem",
                ],
            ),
        ],
    )
    def test_what_has_expired_is_issued_again(
        self, tmp_path: Path, years: int, renewed: list[str]
    ) -> None:
        now, told = datetime.now(UTC), list[str]()
        prepare(tmp_path, ["127.0.0.2"], now=now, report=told.append)
        assert told == []
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        late = now + timedelta(days=365 * years)
        prepare(tmp_path, ["127.0.0.2"], now=late, report=told.append)
        assert sorted(changed(tmp_path, before)) == renewed
        replaced = [name for name in renewed if name.endswith(("_private.pem", "_server.pem"))]
        # The old files are kept, the keys are the same, and each replacement was reported.
        kept = {f"{name}.replaced-{late:%Y-%m-%d}": before[name] for name in replaced}
        assert {path.name for path in tmp_path.iterdir()} == before.keys() | kept.keys()
        for name, data in kept.items():
            assert (tmp_path / name).read_bytes() == data
            assert mode(tmp_path / name) == 0o600
        for name in replaced:
            old = Identity.parse(before[name])
            new = Identity.parse((tmp_path / name).read_bytes())
            assert same_key(new, old)
            assert new.problem(late) is None
        assert sorted(line.split(": ")[0] for line in told) == sorted(replaced)
        for line in told:
            assert re.search(
                r": expired on 20\d\d-\d\d-\d\d; issued again with the same key, valid until "
                r"20\d\d-\d\d-\d\d \d\d:\d\d UTC; the old file is kept as \S+$",
                line,
            )

    @pytest.mark.parametrize("first", [0, 11], ids=["made today", "made ahead"])
    @pytest.mark.parametrize("years", [[11], [2], [11, 2], [-20], [-20, 40, 3]])
    def test_filers_and_key_servers_trust_each_other_after_a_wrong_clock(
        self, tmp_path: Path, first: int, years: list[int]
    ) -> None:
        now = datetime.now(UTC)
        prepare(tmp_path, ["127.0.0.2"], now=now + timedelta(days=366 * first))
        if first:
            prepare(tmp_path, ["127.0.0.2"], now=now)
        filer = shutil.copytree(tmp_path, tmp_path / "filer")  # what a filer has installed
        for ahead in years:
            prepare(tmp_path, ["127.0.0.2"], now=now + timedelta(days=366 * ahead))
        prepare(tmp_path, ["127.0.0.2"], now=now)
        with KeyServer(tmp_path, "127.0.0.2", port=0) as server:
            for place in (filer, tmp_path):
                context = ssl.create_default_context(cafile=place / ca_name(server.address))
                context.verify_flags |= ssl.VERIFY_X509_STRICT
                context.load_cert_chain(place / CLIENT_PRIVATE)
                assert ask(server, context).startswith(RESPONSE)

    @pytest.mark.parametrize("name", [CLIENT_PRIVATE, "127.0.0.2_server.pem"])
    def test_a_certificate_of_another_authority_is_replaced_and_kept(
        self, tmp_path: Path, name: str
    ) -> None:
        prepare(tmp_path, ["127.0.0.2"])
        other = pki.client(pki.authority(), "another name")
        (tmp_path / name).write_bytes(other.private_pem())
        told = list[str]()
        prepare(tmp_path, ["127.0.0.2"], report=told.append)
        new = Identity.parse((tmp_path / name).read_bytes())
        assert same_key(new, other)
        assert new.certificate.subject == other.certificate.subject  # it owns the client's keys
        assert new.is_from(Identity.parse((tmp_path / AUTHORITY_PRIVATE).read_bytes()))
        (kept,) = tmp_path.glob(f"{name}.replaced-*")
        assert kept.read_bytes() == other.private_pem()
        assert told[0].startswith(f"{name}: issued by another authority; issued again with the")

    @pytest.mark.parametrize("name", [CLIENT, "127.0.0.2_CA.pem"])
    def test_another_certificate_is_replaced_and_kept(self, tmp_path: Path, name: str) -> None:
        prepare(tmp_path, ["127.0.0.2"])
        whole = (tmp_path / name).read_bytes()
        for number in (1, 2):
            other = pki.authority().certificate_pem()
            (tmp_path / name).write_bytes(other)
            told = list[str]()
            now = datetime.now(UTC)
            prepare(tmp_path, ["127.0.0.2"], report=told.append, now=now)
            ending = "" if number == 1 else "-2"
            kept = f"{name}.replaced-{now:%Y-%m-%d}{ending}"
            assert (tmp_path / kept).read_bytes() == other
            assert told == [f"{name}: not the current certificate; it is kept as {kept}"]
            assert (tmp_path / name).read_bytes() == whole

    @pytest.mark.parametrize("days", [0.01, 1, 5, 40, 5000])
    def test_new_certificates_live_as_long_as_told(self, tmp_path: Path, days: float) -> None:
        now, lifetime = datetime.now(UTC).replace(microsecond=0), timedelta(days=days)
        told = list[str]()
        for moment in (now, now + lifetime / 2):  # the second time, nothing is issued
            prepare(tmp_path, ["127.0.0.2"], now=moment, lifetime=lifetime, report=told.append)
        for name in (server_name("127.0.0.2"), CLIENT_PRIVATE):
            certificate = Identity.parse((tmp_path / name).read_bytes()).certificate
            assert certificate.not_valid_after_utc == now + lifetime
        assert told == []

    def test_no_certificate_outlives_its_authority(self, tmp_path: Path) -> None:
        now = datetime.now(UTC)
        prepare(tmp_path, ["127.0.0.2"], now=now)
        prepare(tmp_path, ["127.0.0.2"], now=now + timedelta(days=9 * 365))
        authority, server, client = (
            Identity.parse((tmp_path / name).read_bytes()).certificate
            for name in (AUTHORITY_PRIVATE, server_name("127.0.0.2"), CLIENT_PRIVATE)
        )
        assert server.not_valid_after_utc == authority.not_valid_after_utc
        assert client.not_valid_after_utc == authority.not_valid_after_utc

    def test_a_start_cut_short_is_completed(self, tmp_path: Path) -> None:
        prepare(tmp_path, ["127.0.0.2"])
        whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        (tmp_path / CLIENT).unlink()
        (tmp_path / ca_name("127.0.0.2")).unlink()
        (tmp_path / ".new-0123456789abcdef").write_bytes(b"-----BEGIN")
        prepare(tmp_path, ["127.0.0.2"])
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == whole

    def test_starts_at_the_same_time_make_one_authority(self, tmp_path: Path) -> None:
        addresses = [f"127.0.0.{number}" for number in range(2, 10)]
        with ThreadPoolExecutor(len(addresses)) as pool:
            list(pool.map(lambda address: prepare(tmp_path / "new", [address]), addresses))
        assert len({(tmp_path / "new" / ca_name(each)).read_bytes() for each in addresses}) == 1

    @pytest.mark.parametrize("name", [AUTHORITY_PRIVATE, CLIENT_PRIVATE, "127.0.0.2_server.pem"])
    @pytest.mark.parametrize(
        "kind", ["garbage", "encrypted", "other key", "no key", "unknown algorithm"]
    )
    def test_a_damaged_file_is_named_and_left_alone(
        self, tmp_path: Path, name: str, kind: str
    ) -> None:
        prepare(tmp_path, ["127.0.0.2"])
        some = pki.client(None)
        damaged = {
            "garbage": b"\x00garbage",
            "encrypted": pki.encrypted_private_pem(some, b"passphrase"),
            "other key": Identity(pki.client(None).key, some.certificate).private_pem(),
            "no key": some.certificate_pem(),
            "unknown algorithm": pki.private_pem_of_unknown_algorithm(some),
        }[kind]
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(AuthorityError, match=f"{name}: not a private key with its certificate"):
            prepare(tmp_path, ["127.0.0.2"])
        assert (tmp_path / name).read_bytes() == damaged

    def test_modes_do_not_depend_on_the_umask(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            prepare(tmp_path / "a" / "b", ["127.0.0.2"])
        finally:
            os.umask(before)
        assert mode(tmp_path / "a") == mode(tmp_path / "a" / "b") == 0o700
        assert {mode(path) for path in (tmp_path / "a" / "b").iterdir()} == {0o600}

    def test_an_empty_directory_keeps_its_mode(self, tmp_path: Path) -> None:
        empty = tmp_path / "empty"
        empty.mkdir()
        empty.chmod(0o755)
        prepare(empty, [])
        assert mode(empty) == 0o755
        assert mode(empty / CLIENT_PRIVATE) == 0o600

    @pytest.mark.parametrize(
        "name",
        [
            *("precious", CLIENT, CLIENT_PRIVATE, "127.0.0.2_CA.pem", "127.0.0.2_server.pem"),
            *("notes.sqlite", ".new-file", "\udcff"),
        ],
    )
    def test_a_directory_of_another_use_is_refused_and_left_as_it_is(
        self, tmp_path: Path, name: str
    ) -> None:
        used = tmp_path / "used"
        used.mkdir()
        used.chmod(0o755)
        # Certificates for a real key server have these names too.
        (used / name).write_bytes(pki.client(None).private_pem())
        before = (used / name).read_bytes()
        with pytest.raises(AuthorityError, match=r"/used: not empty .* not the directory of a key"):
            prepare(used, ["127.0.0.2"])
        assert [path.name for path in used.iterdir()] == [name]
        assert ((used / name).read_bytes(), mode(used)) == (before, 0o755)

    @pytest.mark.parametrize(
        "name",
        [
            AUTHORITY_PRIVATE,
            CLIENT,
            CLIENT_PRIVATE,
            "127.0.0.2_CA.pem",
            "127.0.0.2_server.pem",
            "127.0.0.2.sqlite",
        ],
    )
    def test_a_link_in_the_place_of_a_file_is_refused(self, tmp_path: Path, name: str) -> None:
        directory, target = tmp_path / "directory", tmp_path / "target"
        prepare(directory, ["127.0.0.2"])
        (directory / name).unlink(missing_ok=True)
        (directory / name).symlink_to(target)
        before = {path.name for path in directory.iterdir()}
        for there in (False, True):
            if there:
                target.write_bytes(b"kept")
            with pytest.raises(AuthorityError, match=f"/{name}: is a link$"):
                prepare(directory, ["127.0.0.2"])
        assert target.read_bytes() == b"kept"
        assert {path.name for path in directory.iterdir()} == before

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    @pytest.mark.parametrize("name", [".", AUTHORITY_PRIVATE, CLIENT_PRIVATE])
    def test_what_belongs_to_another_user_is_refused(self, tmp_path: Path, name: str) -> None:
        directory = tmp_path / "directory"
        prepare(directory, ["127.0.0.2"])
        before = {path.name: path.read_bytes() for path in directory.iterdir()}
        os.chown(directory / name, 1000, 1000)
        with pytest.raises(AuthorityError, match=r": belongs to another user$"):
            prepare(directory, ["127.0.0.2", "127.0.0.3"])
        assert {path.name: path.read_bytes() for path in directory.iterdir()} == before

    def test_a_directory_that_others_can_change_is_refused(self, tmp_path: Path) -> None:
        directory = tmp_path / "directory"
        directory.mkdir()
        for bits in (0o777, 0o1777, 0o775):
            directory.chmod(bits)
            with pytest.raises(AuthorityError, match="can be changed by other users"):
                prepare(directory, ["127.0.0.2"])
        assert list(directory.iterdir()) == []

    def test_a_link_to_a_directory_of_ours_is_followed(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        prepare(tmp_path / "link", ["127.0.0.2"])
        assert (tmp_path / "real" / AUTHORITY_PRIVATE).is_file()

    @pytest.mark.parametrize(
        "left", [CLIENT, CLIENT_PRIVATE, "127.0.0.2_CA.pem", "127.0.0.2_server.pem", "all"]
    )
    def test_a_missing_authority_is_not_replaced(self, tmp_path: Path, left: str) -> None:
        prepare(tmp_path, ["127.0.0.2"])
        with KeyServer(tmp_path, "127.0.0.2", port=0):
            pass
        authority = (tmp_path / AUTHORITY_PRIVATE).rename(tmp_path.with_suffix(".away"))
        for path in tmp_path.glob("*.pem"):
            if left not in ("all", path.name):
                path.unlink()
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        named = "127.0.0.2_CA.pem" if left == "all" else left
        for address in ("127.0.0.2", "127.0.0.3"):
            with pytest.raises(AuthorityError) as caught:
                prepare(tmp_path, [address])
            assert str(caught.value) == (
                f"{tmp_path / AUTHORITY_PRIVATE}: missing, but it issued {named}; put it back, or "
                "move all .pem files away to start with a new authority, whose certificates every "
                "filer has to install"
            )
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
        authority.rename(tmp_path / AUTHORITY_PRIVATE)
        prepare(tmp_path, ["127.0.0.2"])

    @pytest.mark.parametrize("other", [CLIENT_PRIVATE, "127.0.0.2_server.pem", "new", "no CA"])
    def test_another_private_key_is_no_authority(self, tmp_path: Path, other: str) -> None:
        prepare(tmp_path, ["127.0.0.2"])
        match other:
            case "new":
                content = pki.authority().private_pem()
            case "no CA":
                content = pki.client(None).private_pem()
            case _:
                content = (tmp_path / other).read_bytes()
        (tmp_path / AUTHORITY_PRIVATE).write_bytes(content)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        for change in (partial(prepare, tmp_path, ["127.0.0.2"]), partial(renew, tmp_path)):
            with pytest.raises(AuthorityError) as caught:
                change()
            assert str(caught.value) == (
                f"{tmp_path / AUTHORITY_PRIVATE}: not the authority of the other certificates; put "
                "it back, or move all .pem files away to start with a new authority, whose "
                "certificates every filer has to install"
            )
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    def test_a_new_authority_is_made_where_only_stores_are_left(self, tmp_path: Path) -> None:
        prepare(tmp_path, ["127.0.0.2"])
        with KeyServer(tmp_path, "127.0.0.2", port=0):
            pass
        for path in tmp_path.glob("*.pem"):
            path.unlink()
        prepare(tmp_path, ["127.0.0.2"])
        assert (tmp_path / AUTHORITY_PRIVATE).is_file()

    def test_no_key_in_a_repr(self) -> None:
        assert "key" not in repr(pki.client(None)).lower()

    def test_a_file_in_place_of_the_directory(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(AuthorityError, match="/file: is not a directory"):
            prepare(tmp_path / "file", [])


class TestKeys:
    def test_a_key_is_stored_read_and_destroyed(self, server: KeyServer) -> None:
        from kmip.core.enums import RevocationReasonCode
        from kmip.pie.exceptions import KmipOperationFailure

        with pykmip(server) as client:
            uid = register(client, SECRET)
            client.activate(uid)
            assert located(client) == [uid]
            assert located(client, "another system") == []
            assert client.get(uid).value == SECRET.encode()
            _, attributes = client.get_attributes(uid)
            found = {each.attribute_name.value: each.attribute_value for each in attributes}
            assert found["Name"].name_value.value == KEY_ID
            assert found["Object Group"].value == "filer1"
            info = found["Application Specific Information"]
            assert (info.application_namespace, info.application_data) == ("filer", "5DCE1FE7")
            assert found["State"].value.name == "ACTIVE"
            with pytest.raises(KmipOperationFailure, match="active"):
                client.destroy(uid)
            client.revoke(RevocationReasonCode.CESSATION_OF_OPERATION, uid)
            client.destroy(uid)
            assert located(client) == []

    def test_a_restart_keeps_keys_and_port(self, server: KeyServer) -> None:
        with pykmip(server) as client:
            uid = register(client, SECRET)
            client.activate(uid)
        port = server.port
        server.stop()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((server.address, port))
        server.start()
        assert server.port == port
        with pykmip(server) as client:
            assert located(client) == [uid]
            assert client.get(uid).value == SECRET.encode()
        again = KeyServer(server.directory, server.address, port)
        server.stop()
        with again, pykmip(again) as client:
            assert client.get(uid).value == SECRET.encode()

    @pytest.mark.parametrize("how", ["removed", "replaced", "put aside"])
    def test_nothing_is_answered_from_a_store_that_is_lost(
        self, authority: Path, tmp_path: Path, how: str
    ) -> None:
        from kmip.pie.exceptions import KmipOperationFailure

        directory, told = shutil.copytree(authority, tmp_path / "keys"), list[str]()
        server = KeyServer(directory, ADDRESSES[0], port=0, complain=told.append)
        aside = tmp_path / "aside"
        with server, pykmip(server) as client:
            uid = register(client, SECRET)
            if how == "removed":
                server.store.unlink()
            else:
                server.store.rename(aside)
            if how == "replaced":
                shutil.copy(aside, server.store)
            lost = "replaced" if how == "replaced" else "removed"
            for ask in (
                lambda: client.get(uid),
                lambda: located(client),
                lambda: client.activate(uid),
                lambda: client.destroy(uid),
            ):
                with pytest.raises((KmipOperationFailure, AssertionError), match=f"was {lost}"):
                    ask()
            with pytest.raises(AssertionError, match=f"the store of this key server was {lost}"):
                register(client, SECRET)
            with pykmip(server) as another, pytest.raises(KmipOperationFailure):
                another.get(uid)
            assert told == [
                f"{server.store}: was {lost} while key server {server.address} runs; requests are "
                "refused until it is put back or the key server is started again"
            ]
            if how == "put aside":
                aside.rename(server.store)
                assert client.get(uid).value == SECRET.encode()

    def test_a_key_that_loses_its_store_while_it_is_stored_is_not_confirmed(
        self, authority: Path, tmp_path: Path
    ) -> None:
        class Late(Engine):
            def _process_batch(self, *batch: Any) -> Any:
                answer = super()._process_batch(*batch)
                store.unlink()
                return answer

        class Losing(KeyServer):
            def _engine(self) -> Engine:
                return Late(self.store, self._refuse_lost_store)

        directory = shutil.copytree(authority, tmp_path / "keys")
        with Losing(directory, ADDRESSES[0], port=0) as server, pykmip(server) as client:
            store = server.store
            with pytest.raises(AssertionError, match="was removed"):
                register(client, SECRET)

    @pytest.mark.parametrize("left", [None, b""])
    def test_a_missing_store_is_not_made_again(
        self, authority: Path, tmp_path: Path, left: bytes | None
    ) -> None:
        directory = shutil.copytree(authority, tmp_path / "keys")
        server = KeyServer(directory, ADDRESSES[0], port=0)
        with server:
            pass
        kept = server.store.rename(tmp_path / "kept")
        if left is not None:
            server.store.write_bytes(left)
        with pytest.raises(KeyServerError) as caught:
            server.start()
        assert str(caught.value) == (
            f"{server.store}: missing or empty, but there was a store; "
            f"put it back, or remove {server.started.name} to start without any key"
        )
        assert server.store.exists() == (left is not None)
        server.started.unlink()
        with server, pykmip(server) as client:
            assert located(client) == []
        kept.replace(server.store)
        with server:
            pass

    @pytest.mark.parametrize("made", ["nothing", "an empty store", "a store with tables"])
    def test_a_first_start_that_was_killed_is_completed(
        self, authority: Path, tmp_path: Path, made: str
    ) -> None:
        directory = shutil.copytree(authority, tmp_path / "keys")
        server = KeyServer(directory, ADDRESSES[0], port=0)
        server.started.unlink(missing_ok=True)
        if made != "a store with tables":
            server.store.unlink()
        if made == "an empty store":
            server.store.touch()
        with server, pykmip(server) as client:
            assert located(client) == []
            assert server.started.exists()

    def test_every_server_has_its_own_store(self, key_servers: StartKeyServers) -> None:
        first, second = key_servers(2)
        with pykmip(first) as one, pykmip(second) as two:
            register(one, SECRET)
            assert located(two) == []
        assert mode(first.store) == mode(second.store) == 0o600

    def test_keys_are_shown_to_their_owner_alone(self, server: KeyServer) -> None:
        authority = pki.authority_of(server)
        for name, common_name in (("renewed.pem", CLIENT_NAME), ("other.pem", "other")):
            identity = pki.client(authority, common_name)
            (server.directory / name).write_bytes(identity.private_pem())
        with pykmip(server) as client:
            uid = register(client, SECRET)
        with pykmip(server, "renewed.pem", "renewed.pem") as client:
            assert located(client) == [uid]
        with pykmip(server, "other.pem", "other.pem") as client:
            assert located(client) == []

    def test_many_clients_at_once(self, server: KeyServer) -> None:
        def work(number: int) -> None:
            with pykmip(server) as client:
                for count in range(5):
                    secret = f"{SECRET}-{number}-{count}"
                    uid = register(client, secret, f"{number}-{count}", str(number))
                    client.activate(uid)
                    assert client.get(uid).value == secret.encode()
                assert len(located(client, str(number))) == 5

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))

    def test_a_secret_is_in_no_log(
        self, server: KeyServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level("DEBUG"), pykmip(server) as client:
            uid = register(client, SECRET)
            assert client.get(uid).value == SECRET.encode()
            assert ask(server).startswith(RESPONSE)
        assert [each for each in caplog.records if each.name.startswith("kmip.server")] == []

    def test_a_path_may_hold_any_character(self, tmp_path: Path) -> None:
        directory = tmp_path / os.fsdecode(b"k?s #1 %41 \xff&")
        prepare(directory, ["127.0.0.2"])
        with KeyServer(directory, "127.0.0.2", 0) as server:
            assert server.store.stat().st_size > 0
        assert {path.parent for path in tmp_path.rglob("*.sqlite")} == {directory}


class TestConnections:
    @pytest.mark.parametrize("address", ["127.0.0.2", IPV6])
    def test_tls_1_3_and_an_address_that_can_be_verified(
        self, key_servers: StartKeyServers, address: str
    ) -> None:
        if address == IPV6 and not _has_ipv6():
            pytest.skip("no IPv6 on this host")
        (server,) = key_servers(addresses=(address,))
        with tls(server) as connection:
            assert connection.version() == "TLSv1.3"

    @pytest.mark.parametrize(
        ("version", "accepted"),
        [(ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_1, False)],
    )
    def test_older_tls(self, server: KeyServer, version: ssl.TLSVersion, accepted: bool) -> None:
        context = client_context(server, server.directory / CLIENT_PRIVATE)
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context.minimum_version = context.maximum_version = version
        context.set_ciphers("ALL:@SECLEVEL=0")
        if accepted:
            with tls(server, context) as connection:
                assert connection.version() == "TLSv1.2"
        else:
            with pytest.raises(ssl.SSLError, match=r"(?i)version"), tls(server, context):
                pass

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    @pytest.mark.parametrize(
        ("identity", "alert"),
        [
            (None, "(?i)alert.*(certificate required|handshake failure)"),
            (pki.client(pki.authority()), "(?i)alert unknown ca"),
            (pki.client(None), "(?i)alert unknown ca"),
        ],
        ids=["none", "other authority", "self-signed"],
    )
    def test_a_client_without_the_right_certificate_is_refused(
        self,
        server: KeyServer,
        tmp_path: Path,
        version: ssl.TLSVersion,
        identity: Identity | None,
        alert: str,
    ) -> None:
        path = None
        if identity is not None:
            path = tmp_path / "odd.pem"
            path.write_bytes(identity.private_pem())
        context = client_context(server, path)
        context.minimum_version = context.maximum_version = version
        with pytest.raises(ssl.SSLError, match=alert):
            ask(server, context)

    def test_an_expired_client_certificate_is_refused(
        self, server: KeyServer, tmp_path: Path
    ) -> None:
        expired = pki.client(pki.authority_of(server), valid=pki.EXPIRED)
        (tmp_path / "expired.pem").write_bytes(expired.private_pem())
        context = client_context(server, tmp_path / "expired.pem")
        with pytest.raises(ssl.SSLError, match=r"(?i)alert certificate expired"):
            ask(server, context)

    def test_idle_clients_do_not_delay_a_stop(self, server: KeyServer) -> None:
        taken = []
        for number in range(3):
            server.start()
            with (
                pykmip(server) as client,
                socket.create_connection((server.address, server.port)) as silent,
                tls(server) as idle,
            ):
                register(client, SECRET, str(number))
                assert eventually(lambda: len(sessions()) == 3)
                begin = time.monotonic()
                server.stop()
                taken.append(time.monotonic() - begin)
                assert sessions() == []
                assert ends(silent)
                assert ends(idle)
        # A stop that waited for a client would always be slow; a busy host is slow only sometimes.
        assert min(taken) < 0.1

    def test_a_silent_client_blocks_no_other_and_is_dropped(self, tmp_path: Path) -> None:
        prepare(tmp_path, ["127.0.0.2"])
        with (
            KeyServer(tmp_path, "127.0.0.2", 0, handshake_timeout=0.2) as server,
            socket.create_connection((server.address, server.port), timeout=5) as silent,
            tls(server) as idle,
        ):
            assert ends(silent)
            idle.settimeout(0.3)
            with pytest.raises(TimeoutError):
                idle.recv(1)

    @pytest.mark.parametrize(
        "request_bytes",
        [
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x42\x00\x78\x01\xff\xff\xff\xff",
            b"\x42\x00\x7b\x01\x00\x00\x00\x08" + b"\x00" * 8,
        ],
        ids=["http", "huge", "a response"],
    )
    def test_what_is_not_kmip_ends_the_session(
        self, server: KeyServer, capfd: pytest.CaptureFixture[str], request_bytes: bytes
    ) -> None:
        with tls(server) as connection:
            connection.sendall(request_bytes)
            assert ends(connection)
        assert eventually(lambda: sessions() == [])
        with pykmip(server) as client:
            register(client, SECRET)
        assert capfd.readouterr() == ("", "")

    def test_a_broken_message_is_answered(
        self, server: KeyServer, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert ask(server).startswith(RESPONSE)
        assert capfd.readouterr() == ("", "")

    def test_broken_connections(self, server: KeyServer, capfd: pytest.CaptureFixture[str]) -> None:
        def reset(connection: socket.socket) -> None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

        for _ in range(5):
            with socket.create_connection((server.address, server.port)) as plain:
                plain.sendall(b"not TLS at all, " * 100)
            reset(socket.create_connection((server.address, server.port)))
            with tls(server) as connection:
                connection.sendall(b"\x42\x00\x78\x01\x00\x00\x10\x00half a request")
            with tls(server) as connection:
                reset(connection)
        assert eventually(lambda: sessions() == [])
        with pykmip(server) as client:
            register(client, SECRET)
        assert capfd.readouterr() == ("", "")


class TestStarting:
    def test_one_free_port_for_all(self, key_servers: StartKeyServers) -> None:
        servers = key_servers(4)
        assert len({server.port for server in servers}) == 1
        assert servers[0].port != 0
        assert len({server.address for server in servers}) == 4

    def test_all_or_none(self, key_servers: StartKeyServers) -> None:
        first, second = key_servers(2)
        second.stop()
        with socket.create_server((second.address, second.port)):
            first.stop()
            with pytest.raises(AddressInUseError) as caught:
                start_together([first, second])
        assert str(caught.value) == (
            f"cannot listen on {second.address} port {second.port}: Address already in use"
        )
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((first.address, first.port))

    def test_an_address_of_another_host(self, authority: Path) -> None:
        with pytest.raises(KeyServerError, match=r"^cannot listen on 198\.51\.100\.1 port 5696: "):
            KeyServer(authority, "198.51.100.1").start()

    def test_start_and_stop_may_be_repeated(self, server: KeyServer) -> None:
        server.start()
        server.stop()
        server.stop()
        server.start()
        with tls(server) as connection:
            assert connection.version() == "TLSv1.3"

    @pytest.mark.parametrize(
        ("suffix", "damage"),
        [
            *product(["_CA.pem", "_server.pem"], ["garbage", "missing", "directory"]),
            *product([".sqlite"], ["garbage", "directory"]),
        ],
    )
    def test_a_file_at_fault_is_named(self, server: KeyServer, suffix: str, damage: str) -> None:
        server.stop()
        path = server.directory / f"{server.address}{suffix}"
        path.unlink()
        if damage == "garbage":
            path.write_bytes(b"\x00garbage" * 1000)
        elif damage == "directory":
            path.mkdir()
        with pytest.raises(KeyServerError, match=re.escape(str(path)) + ": .") as caught:
            server.start()
        assert "\n" not in str(caught.value)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((server.address, server.port))

    @pytest.mark.parametrize("is_new", [True, False], ids=["first start", "later start"])
    @pytest.mark.parametrize(
        ("statements", "problem"),
        [
            (["CREATE TABLE t (a)", "INSERT INTO t VALUES (1)"], 'it has the table "t"'),
            (["CREATE VIEW v AS SELECT 1 AS a"], 'it has the table "v"'),
            (
                ["CREATE TABLE managed_objects (uid INTEGER, value)"],
                'its table "managed_objects" has no column "class_type"',
            ),
            (["PRAGMA user_version = 7"], 'it has no table "app_specific_info"'),
        ],
    )
    def test_another_database_is_refused_and_left_as_it_is(
        self, authority: Path, tmp_path: Path, statements: list[str], problem: str, is_new: bool
    ) -> None:
        directory = shutil.copytree(authority, tmp_path / "keys")
        server = KeyServer(directory, ADDRESSES[0], port=0)
        with server:
            pass
        server.store.unlink()
        with closing(sqlite3.connect(server.store)) as other, other:
            for statement in statements:
                other.execute(statement)
        server.store.chmod(0o644)
        if is_new:
            server.started.unlink()
            if "user_version" in statements[0]:  # a first start could have left it
                with server:
                    return
        before = server.store.read_bytes()
        with pytest.raises(KeyServerError) as caught:
            server.start()
        assert str(caught.value) == (
            f"{server.store}: not the store of a key server ({problem}); "
            "put the store back, or move this file away"
        )
        assert (server.store.read_bytes(), mode(server.store)) == (before, 0o644)

    def test_a_store_with_a_table_more_is_served(self, key_servers: StartKeyServers) -> None:
        (server,) = key_servers(1)
        server.stop()
        with closing(sqlite3.connect(server.store)) as store, store:
            store.execute("CREATE TABLE notes (a)")
        server.start()

    def test_an_odd_certificate_can_be_served(self, server: KeyServer) -> None:
        context = client_context(server, server.directory / CLIENT_PRIVATE)
        other = pki.authority("root")
        between = pki.authority("intermediate", issuer=other)
        context.load_verify_locations(cadata=other.certificate_pem().decode())
        pki.serve_as(server, pki.server(between, server.address), between)
        assert ask(server, context).startswith(RESPONSE)
        root = pki.authority_of(server)
        for identity, reason in (
            (pki.server(root, server.address, valid=pki.EXPIRED), "has expired"),
            (pki.server(root, server.address, valid=pki.NOT_YET), "not yet valid"),
            (pki.server(root, "127.0.0.9"), "IP address mismatch"),
            (pki.server(None, server.address), "self-signed"),
            (pki.server(pki.authority(), server.address), "unable to get local issuer"),
            (pki.server(root, server.address, key_identifiers=False), "Identifier"),
        ):
            pki.serve_as(server, identity)
            with pytest.raises(ssl.SSLCertVerificationError, match=reason), tls(server):
                pass

    def test_other_clients_can_be_accepted(self, server: KeyServer, tmp_path: Path) -> None:
        context = client_context(server)
        other = pki.authority("other")
        pki.accept_clients_of(server, other)
        (tmp_path / "client.pem").write_bytes(pki.client(other).private_pem())
        context.load_cert_chain(tmp_path / "client.pem")
        assert ask(server, context).startswith(RESPONSE)


class TestProgram:
    def test_it_serves_until_sigterm(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        home.mkdir()
        directory = home / "data" / "filer-keyserver"
        with Program(
            home, "--address", "127.0.0.2", "--address", "127.0.0.3", "--port", "0", umask=0
        ) as program:
            first, second = program.line(), program.line()
            told = re.fullmatch(
                r"Key server 127\.0\.0\.2 listens on port (\d+); its files are in (.*)\n", first
            )
            assert told is not None
            assert told[2] == str(directory)
            assert second == first.replace("127.0.0.2", "127.0.0.3")
            # the program's own server, as this process sees it
            server = KeyServer(directory, "127.0.0.2", int(told[1]))
            with pykmip(server) as client:
                uid = register(client, SECRET)
                client.activate(uid)
                assert client.get(uid).value == SECRET.encode()
                with socket.create_connection((server.address, server.port)) as plain:
                    plain.sendall(b"not TLS at all")
                assert program.end(signal.SIGTERM) == (0, "", "")
        assert mode(home / "data") == mode(directory) == 0o700
        assert {mode(path) for path in directory.iterdir()} == {0o600}
        with server, pykmip(server) as client:
            assert client.get(uid).value == SECRET.encode()

    def test_a_lost_store_costs_one_line_and_no_start(self, tmp_path: Path, run: Run) -> None:
        from kmip.pie.exceptions import KmipOperationFailure

        directory = tmp_path / "mine"
        arguments = ("--port", "0", "--dir", str(directory))
        with Program(tmp_path, *arguments) as program:
            told = re.fullmatch(
                rf"Key server 127\.0\.0\.1 listens on port (\d+); its files are in {directory}\n",
                program.line(),
            )
            assert told is not None
            server = KeyServer(directory, "127.0.0.1", int(told[1]))
            with pykmip(server) as client:
                uid = register(client, SECRET)
                server.store.unlink()
                for _ in range(2):
                    with pytest.raises(KmipOperationFailure, match="was removed"):
                        client.get(uid)
            status, out, err = program.end(signal.SIGINT)
        assert (status, out) == (0, "")
        assert err == (
            f"filer-keyserver: {server.store}: was removed while key server 127.0.0.1 runs; "
            "requests are refused until it is put back or the key server is started again\n"
        )
        assert run(*arguments) == (
            1,
            "",
            f"filer-keyserver: {server.store}: missing or empty, but there was a store; "
            "put it back, or remove 127.0.0.1.started to start without any key\n",
        )

    @pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_while_it_starts(self, tmp_path: Path, with_signal: int) -> None:
        directory = tmp_path / "new"
        with Program(tmp_path, "--dir", str(directory), "--port", "0") as program:
            assert eventually(directory.is_dir)
            status, _, err = program.end(with_signal)
        assert (status, err) == (0, "")

    def test_a_port_in_use(self, tmp_path: Path, run: Run) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            assert run("--dir", tmp_path, "--port", port) == (
                1,
                "",
                "filer-keyserver: cannot listen on 127.0.0.1 "
                f"port {port}: Address already in use\n",
            )

    def test_an_address_off_loopback_is_warned_of(self, tmp_path: Path, run: Run) -> None:
        status, out, err = run("--dir", tmp_path, "--address", "198.51.100.1")
        assert (status, out) == (1, "")
        assert err.splitlines() == [
            "filer-keyserver: warning: 198.51.100.1 can be reached from other machines",
            "filer-keyserver: cannot listen on 198.51.100.1 port 5696: "
            "Cannot assign requested address",
        ]

    def test_a_damaged_file_costs_one_line(self, tmp_path: Path, run: Run) -> None:
        prepare(tmp_path, ["127.0.0.1"])
        (tmp_path / AUTHORITY_PRIVATE).write_bytes(b"garbage")
        status, out, err = run("--dir", tmp_path)
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert err.startswith(f"filer-keyserver: {tmp_path / AUTHORITY_PRIVATE}: not a private key")

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this host")
    def test_a_full_or_closed_output(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "filer.keyserver", "--port", "0", "--dir", str(tmp_path)]
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                command, cwd=CHECKOUT, stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        assert (done.returncode, done.stderr) == (
            1,
            "filer-keyserver: cannot write standard output: No space left on device\n",
        )
        reader, writer = os.pipe()
        os.close(reader)
        try:
            done = subprocess.run(
                command, cwd=CHECKOUT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
            )
        finally:
            os.close(writer)
        assert (done.returncode, done.stderr) == (141, "")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--port", "65536"], 'argument --port: "65536" is not a TCP port (0 to 65535)'),
            (["--port", "٣"], 'argument --port: "٣" is not a TCP port (0 to 65535)'),
            (["--port", "-1"], 'argument --port: "-1" is not a TCP port (0 to 65535)'),
            (["--addr", "127.0.0.1"], "unrecognized arguments: --addr"),
            (["--addr=127.0.0.1", "list"], "unrecognized arguments: --addr=127.0.0.1"),
            (["--a\x1b[31m\nb"], "unrecognized arguments: --a\\x1b[31m\\nb"),
            (["--days", "-1"], 'argument --days: "-1" is not a number of days (0 to 36500)'),
            (["--days", "nan"], 'argument --days: "nan" is not a number of days (0 to 36500)'),
            (["--days", "٣"], 'argument --days: "٣" is not a number of days (0 to 36500)'),
            (["--client-ca", ""], "argument --client-ca: not the name of a file"),
            (["--port", "1", "list"], "--port is not an option of list"),
            (["--days", "1", "destroy", "1"], "--days is not an option of destroy"),
            (["--client-ca", "ca", "renew"], "--client-ca is not an option of renew"),
            (["--dir", ""], "argument --dir: not the name of a directory"),
            (
                ["--address", "0.0.0.0"],
                'argument --address: "0.0.0.0" is the unspecified address, '
                "not that of a key server",
            ),
            (
                ["--address", "localhost"],
                'argument --address: "localhost" is not an IP address; '
                "key servers cannot be named by DNS",
            ),
        ],
    )
    def test_wrong_usage_is_named_below_the_usage(
        self, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
    ) -> None:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        usage = "usage: filer-keyserver [options] [COMMAND ...]\n"
        assert capsys.readouterr() == ("", f"{usage}filer-keyserver: error: {message}\n")

    def test_help_and_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as caught:
            main(["--help"])
        assert caught.value.code == 0
        out = capsys.readouterr().out
        assert all(option in out for option in ("--dir DIR", "--address IP", "--port PORT"))

    def test_the_version_is_printed_without_importing_pykmip(self) -> None:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "filer.keyserver", "--version"],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.startswith("filer-keyserver ")
        assert not re.search(r"\| +(kmip|sqlalchemy|cryptography)\b", done.stderr)


def _has_ipv6() -> bool:
    try:
        with socket.create_server((IPV6, 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False
