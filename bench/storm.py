"""The row for ``filer-storm``: a whole site boots at once, all on this machine."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bench.row import Figure, Row, below
from bench.workshop import (
    ADDRESSES,
    KeyServers,
    Workshop,
    free_port,
    new_pairs,
    processes,
    put_for_others,
    put_into_store,
)
from filer.storm.plan import PROGRAM

_WITHIN = 30
_BESIDE = Path(sys.executable).parent


def storm(shop: Workshop) -> Iterator[Row]:
    """Measure when the last of 200 filers is up that boot at once; none may fail."""
    servers, filers, pairs = (2, 4, 8) if shop.quick else (4, 200, 128)
    what = f"{filers} filers with {pairs} pairs boot from {servers} key servers at once"
    with _stocked(shop, servers, filers, pairs) as running:
        report = shop.new("storm") / "report.json"
        command = [
            *(_BESIDE / PROGRAM, "--certs", running.directory, "--port", running.port),
            *("--filers", filers, "--pairs", pairs, "--stocked", "--json", report),
            *("--within", _WITHIN, "--timeout", _WITHIN, *running.addresses),
        ]
        environment = {"PATH": os.defpath, "XDG_STATE_HOME": str(report.parent)}
        subprocess.run(
            [*map(str, command)],
            env=environment,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    found = json.loads(report.read_text())
    if found["verdict"] == "passed":
        yield Row(what, Figure(found["last_s"]), below(_WITHIN), against="all up")
    else:
        yield Row(what, None, below(_WITHIN), against=found["message"])


@contextmanager
def _stocked(shop: Workshop, servers: int, filers: int, pairs: int) -> Iterator[KeyServers]:
    """Run key servers that have the key pairs of all filers of a storm."""
    from filer.keyserver.authority import prepare

    directory, addresses, port = shop.new("site"), ADDRESSES[:servers], free_port()
    prepare(directory, addresses)
    store = directory / f"{addresses[0]}.sqlite"
    put_into_store(store, new_pairs(pairs))
    put_for_others(store, pairs, filers - 1)
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute(
            "UPDATE managed_objects SET owner = ? || ifnull(nullif(substr(owner, 6), ''), '0')",
            [f"{PROGRAM}-"],
        )
    for address in addresses[1:]:
        shutil.copyfile(store, directory / f"{address}.sqlite")
    program = _BESIDE / "filer-keyserver"
    commands: list[list[str | Path]] = [
        [program, "--dir", directory, "--address", address, "--port", str(port)]
        for address in addresses
    ]
    with processes(commands) as process_ids:
        yield KeyServers(directory, addresses, port, process_ids)
