"""PyKMIP's own server, with its own front end and TLS, is fit for a filer."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filer.keyserver.authority import server_name
from filer.qualify.session import Plan
from filer.registration.pem import ca_name
from tests.kit.paths import CHECKOUT
from tests.qualify.conftest import ADDRESSES
from tests.qualify.runs import SETTINGS, qualified

ADDRESS = ADDRESSES[1]

CONFIGURATION = """
[server]
hostname={address}
port={port}
certificate_path={certificate}
key_path={certificate}
ca_path={authority}
auth_suite=TLS1.2
database_path={store}
"""


@contextmanager
def stock(certs: Path, directory: Path) -> Iterator[int]:
    """Run it, and return its port."""
    with socket.create_server((ADDRESS, 0)) as free:
        port = free.getsockname()[1]
    (directory / "server.conf").write_text(
        CONFIGURATION.format(
            address=ADDRESS,
            port=port,
            certificate=certs / server_name(ADDRESS),
            authority=certs / ca_name(ADDRESS),
            store=directory / "store",
        )
    )
    program = [sys.executable, "-W", "ignore", "-m", "bench.stock"]
    with subprocess.Popen(
        [*program, directory / "server.conf", directory / "log"],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            yield port
        finally:
            process.kill()


def test_it_is_fit(certs: Path, tmp_path: Path) -> None:
    with stock(certs, tmp_path) as port:
        run = qualified(Plan([ADDRESS], port, certs, SETTINGS), tmp_path / "ledger")

    assert run.verdicts[0].fit
    # It has no TLS 1.3, and refuses the custom attributes of the published cases.
    assert run.failed == {"oasis-profile"}
    assert "TLS 1.3 is refused" in run.results["tls-versions"].statements
    assert run.complaints == []
