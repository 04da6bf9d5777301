"""PyKMIP's own server: ``python -m bench.stock CONFIGURATION LOG`` prints ``ready`` and serves."""

import sys
from pathlib import Path

from filer.registration.pem import ca_name

_CONFIGURATION = """
[server]
hostname={address}
port={port}
certificate_path={certificate}
key_path={certificate}
ca_path={authority}
auth_suite=TLS1.2
database_path={store}
"""


def command(directory: Path, key_servers: Path, address: str, port: int) -> list[str]:
    """Write a configuration into ``directory``; return the command line that starts the server.

    Its certificates are those of the trial key server in ``key_servers``.  Its store is the file
    ``store`` in ``directory``, which need not exist.
    """
    certificate = key_servers / f"{address}_server.pem"
    configuration = directory / "server.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            address=address,
            port=port,
            certificate=certificate,
            authority=key_servers / ca_name(address),
            store=directory / "store",
        )
    )
    program = [sys.executable, "-W", "ignore", "-m", "bench.stock"]
    return [*program, str(configuration), str(directory / "log")]


def main() -> None:
    """Serve until the process is ended."""
    from kmip.services.server.server import KmipServer

    with KmipServer(config_path=sys.argv[1], log_path=sys.argv[2], live_policies=True) as server:
        server._socket.listen()  # before it is said to be ready
        print("ready", flush=True)
        server.serve()


if __name__ == "__main__":
    main()
