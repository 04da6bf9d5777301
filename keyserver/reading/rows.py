"""The objects of a store, read with SQL of bounded cost: by index, and only what is asked for."""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, Full, LifoQueue
from typing import Any, NamedTuple

from filer.keyserver.reading.rights import Scope
from filer.keyserver.reading.understanding import Filters
from filer.keyserver.store import reading_connection

_AT_ONCE = 256
_KEPT = 4
"""Connections that stay open; Python runs one thread at a time, so more would not be faster."""

_SECRET_DATA = 7

_NUMBERED = f"IN ({', '.join('?' * _AT_ONCE)})"
"""Always of the same length, so that SQLite compiles each statement once."""

_OBJECTS = f"""
    SELECT object.uid, object.operation_policy_name, object.owner, object.value,
        secret.data_type, crypto.state
    FROM managed_objects AS object
    JOIN crypto_objects AS crypto ON crypto.uid = object.uid
    JOIN secret_data_objects AS secret ON secret.uid = object.uid
    WHERE object.object_type = {_SECRET_DATA} AND object.uid {_NUMBERED}
"""
_NAMES = f"SELECT mo_uid, name FROM managed_object_names WHERE mo_uid {_NUMBERED} ORDER BY id"
_GROUPS = f"""
    SELECT map.managed_object_id, shared.object_group
    FROM object_group_map AS map CROSS JOIN object_groups AS shared
        ON shared.id = map.object_group_id
    WHERE map.managed_object_id {_NUMBERED} ORDER BY shared.id
"""
_APPLICATIONS = f"""
    SELECT map.managed_object_id, shared.application_namespace, shared.application_data
    FROM app_specific_info_map AS map CROSS JOIN app_specific_info AS shared
        ON shared.id = map.app_specific_info_id
    WHERE map.managed_object_id {_NUMBERED} ORDER BY shared.id
"""

_HAS_NAME = "uid IN (SELECT mo_uid FROM managed_object_names WHERE name = ?)"
_HAS_APPLICATION = """
    uid IN (SELECT map.managed_object_id FROM app_specific_info AS shared
        CROSS JOIN app_specific_info_map AS map ON map.app_specific_info_id = shared.id
        WHERE shared.application_data = ? AND shared.application_namespace = ?)
"""
_HAS_GROUP = """
    uid IN (SELECT map.managed_object_id FROM object_groups AS shared
        CROSS JOIN object_group_map AS map ON map.object_group_id = shared.id
        WHERE shared.object_group = ?)
"""
_HAS_STATE = """
    EXISTS (SELECT 1 FROM crypto_objects AS crypto
        WHERE crypto.uid = managed_objects.uid AND crypto.state IN (?, -1))
"""
"""PyKMIP stores a missing state as -1, and lets it match any."""


class Secret(NamedTuple):
    """A Secret Data object; the values are as the store has them, so any may be unusable."""

    policy: Any
    owner: Any
    value: Any
    data_type: Any
    state: Any
    names: list[Any]
    groups: list[Any]
    applications: list[Any]


class Rows:
    """Connections to a store; any number of threads may use them."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._closed = False
        self._idle: LifoQueue[sqlite3.Connection] = LifoQueue(_KEPT)

    def close(self) -> None:
        """Close all connections, those in use after their use."""
        self._closed = True
        with suppress(Empty):
            while True:
                self._idle.get_nowait().close()

    @contextmanager
    def snapshot(self) -> Iterator["Snapshot"]:
        """Read one state of the store, whatever changes meanwhile.  Raises sqlite3.Error."""
        try:
            connection = self._idle.get_nowait()
        except Empty:
            connection = reading_connection(self._store)
        try:
            connection.execute("BEGIN")
            yield Snapshot(connection)
        finally:
            self._put_back(connection)

    def _put_back(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("ROLLBACK")
            self._idle.put_nowait(connection)
        except (sqlite3.Error, Full):
            connection.close()
        if self._closed:
            self.close()


class Snapshot:
    """One state of a store.  The methods raise sqlite3.Error."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def located(self, client: str, scopes: Sequence[Scope], filters: Filters) -> list[int]:
        """Return the numbers of the objects in ``scopes`` that match, the newest first."""
        conditions, values = _conditions(filters)
        # With an identifying filter, the index of the owner would only be a detour.
        no_index = "+" if any((filters.name, filters.application, filters.group)) else ""
        selects, parameters = [], []
        for scope in scopes:
            kinds = [kind for kind in scope.kinds if filters.kind in (None, kind)]
            if not kinds:
                continue
            within = [f"{no_index}operation_policy_name = ?"]
            parameters.append(scope.policy)
            if not scope.of_all:
                within.append(f"{no_index}owner = ?")
                parameters.append(client)
            within.append(f"{no_index}object_type IN ({', '.join(map(str, kinds))})")
            where = " AND ".join([*within, *conditions])
            selects.append(f"SELECT uid, initial_date FROM managed_objects WHERE {where}")
            parameters += values
        if not selects:
            return []
        statement = f"{' UNION ALL '.join(selects)} ORDER BY initial_date DESC, uid"
        return [number for number, _ in self._connection.execute(statement, parameters)]

    def secrets(self, numbers: Collection[int], *, described: bool) -> dict[int, Secret]:
        """Return the Secret Data objects with ``numbers``, if ``described`` with their lists."""
        wanted = sorted(numbers)
        found: dict[int, Secret] = {}
        for start in range(0, len(wanted), _AT_ONCE):
            some: list[int | None] = [*wanted[start : start + _AT_ONCE]]
            some += [None] * (_AT_ONCE - len(some))
            for number, *columns in self._connection.execute(_OBJECTS, some):
                policy, owner, value, data_type, state = columns
                found[number] = Secret(policy, owner, value, data_type, state, [], [], [])
            if described:
                for number, name in self._connection.execute(_NAMES, some):
                    if number in found:
                        found[number].names.append(name)
                for number, group in self._connection.execute(_GROUPS, some):
                    if number in found:
                        found[number].groups.append(group)
                for number, *application in self._connection.execute(_APPLICATIONS, some):
                    if number in found:
                        found[number].applications.append(tuple(application))
        return found


def _conditions(filters: Filters) -> tuple[list[str], list[Any]]:
    """Return the SQL conditions of ``filters`` but that on the type, and their parameters."""
    conditions: list[str] = []
    values: list[Any] = []
    if filters.name is not None:
        conditions.append(_HAS_NAME)
        values.append(filters.name)
    if filters.application is not None:
        conditions.append(_HAS_APPLICATION)
        namespace, data = filters.application
        values += [data, namespace]
    if filters.group is not None:
        conditions.append(_HAS_GROUP)
        values.append(filters.group)
    if filters.state is not None:
        conditions.append(_HAS_STATE)
        values.append(filters.state)
    return conditions, values
