"""Key pairs on real key servers, read and written by the filer's client and by PyKMIP's."""

import os
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from filer.keys.authentication_key import AuthenticationKey
from filer.keys.key_id import new_key_id
from filer.keys.pair import KeyPair
from filer.keyserver.server import KeyServer
from filer.kmip.client import Credentials, KmipClient
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from tests.kit import hostile
from tests.kit.house import PARTNER_ID, SYSTEM_ID, House

PARENT_TAG = "1573922311-1573922407"


def client_of(server: KeyServer, timeout: float = 20.0) -> KmipClient:
    """Return a filer's client of a key server, without a registration."""
    directory = server.directory
    files = Credentials(
        directory / CLIENT, directory / CLIENT_PRIVATE, directory / ca_name(server.address)
    )
    return KmipClient(server.address, server.port, files, timeout)


def new_pair(
    tag: str = "filer1",
    key: str | bytes | None = None,
    key_id: str | None = None,
    system_id: int = SYSTEM_ID,
) -> KeyPair:
    """Make a key pair of a filer and its partner; its key is random unless given."""
    secret = key if isinstance(key, bytes) else (key or os.urandom(16).hex()).encode()
    made = key_id or new_key_id(system_id, PARTNER_ID, os.urandom)
    return KeyPair(made, tag, AuthenticationKey(secret))


def put(server: KeyServer, *pairs: KeyPair) -> None:
    """Store key pairs on a key server: a few by Register, many as rows like those of the first."""
    from filer.kmip.requests import encode, register

    registered = pairs if len(pairs) <= _FEW else pairs[:1]
    with hostile.connected(server) as connection:
        connection.sendall(encode([register(pair, PARENT_TAG) for pair in registered], 0))
        answer = hostile.Answer.parse(hostile.read_message(connection))
        assert len(answer.items) == len(registered)
    with closing(sqlite3.connect(server.store, timeout=10)) as store, store:
        (first,) = store.execute("SELECT max(uid) FROM managed_objects").fetchone()
        for uid, pair in enumerate(pairs[len(registered) :], first + 1):
            new = {"uid": uid, "value": pair.key.reveal(), "name": pair.key_id, "tag": pair.tag}
            for statement in _COPIES:
                store.execute(statement, {"first": first, **new})


_FEW = 4
_OBJECT = (
    "object_type, class_type, name_index, operation_policy_name, sensitive, initial_date, owner"
)
_COPIES = (
    f"INSERT INTO managed_objects (uid, value, {_OBJECT}) "
    f"SELECT :uid, :value, {_OBJECT} FROM managed_objects WHERE uid = :first",
    "INSERT INTO crypto_objects (uid, cryptographic_usage_mask, state) "
    "SELECT :uid, cryptographic_usage_mask, state FROM crypto_objects WHERE uid = :first",
    "INSERT INTO secret_data_objects (uid, data_type) "
    "SELECT :uid, data_type FROM secret_data_objects WHERE uid = :first",
    "INSERT INTO managed_object_names (mo_uid, name, name_index, name_type) "
    "SELECT :uid, :name, name_index, name_type FROM managed_object_names WHERE mo_uid = :first",
    "INSERT INTO app_specific_info_map (managed_object_id, app_specific_info_id) "
    "SELECT :uid, app_specific_info_id FROM app_specific_info_map "
    "WHERE managed_object_id = :first",
    "INSERT INTO object_groups (object_group) VALUES (:tag)",
    "INSERT INTO object_group_map (managed_object_id, object_group_id) "
    "VALUES (:uid, last_insert_rowid())",
)


def lose(server: KeyServer, *pairs: KeyPair) -> None:
    """Delete key pairs from a key server; without any, all of them."""
    client = client_of(server)
    for pair in pairs or pairs_on(server):
        assert client.take_back(pair.key_id, pair.key, None)


def lose_everywhere(house: House) -> None:
    """Delete all key pairs from all key servers."""
    for server in house.servers:
        lose(server)


def pairs_on(server: KeyServer) -> list[KeyPair]:
    """Return the key pairs on a key server."""
    return client_of(server).fetch()


@contextmanager
def pykmip(
    server: KeyServer, certificate: str = CLIENT, key: str = CLIENT_PRIVATE
) -> Iterator[Any]:
    """Connect PyKMIP's own client, which knows nothing about filers."""
    from kmip.pie.client import ProxyKmipClient

    client = ProxyKmipClient(
        hostname=server.address,
        port=server.port,
        cert=str(server.directory / certificate),
        key=str(server.directory / key),
        ca=str(server.directory / ca_name(server.address)),
        ssl_version="PROTOCOL_TLS",
    )
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning), client:
        yield client
