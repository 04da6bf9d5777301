"""PyKMIP's own server: ``python -m bench.stock CONFIGURATION LOG`` prints ``ready`` and serves."""

import sys

from kmip.services.server.server import KmipServer

if __name__ == "__main__":
    with KmipServer(config_path=sys.argv[1], log_path=sys.argv[2], live_policies=True) as server:
        print("ready", flush=True)
        server.serve()
