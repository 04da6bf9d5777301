"""PyKMIP's own server, with its own front end and TLS, is fit for a filer."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.stock import command
from filer.qualify.session import Plan
from tests.kit.paths import CHECKOUT
from tests.qualify.conftest import ADDRESSES
from tests.qualify.runs import SETTINGS, qualified

ADDRESS = ADDRESSES[1]


@contextmanager
def stock(certs: Path, directory: Path) -> Iterator[int]:
    """Run it, and return its port."""
    with socket.create_server((ADDRESS, 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen(
        command(directory, certs, ADDRESS, port),
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            yield port
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # it has a child, which watches its policies


def test_it_is_fit(certs: Path, tmp_path: Path) -> None:
    with stock(certs, tmp_path) as port:
        run = qualified(Plan([ADDRESS], port, certs, SETTINGS), tmp_path / "ledger")

    assert run.verdicts[0].fit
    # It has no TLS 1.3, and refuses the custom attributes of the published cases.
    assert run.failed == {"oasis-profile"}
    assert "TLS 1.3 is refused" in run.results["tls-versions"].statements
    assert run.complaints == []
