"""``python -m bench [ROW...]``: measure, print the table, and write it to ``--results``."""

import argparse
import os
import platform
import sys
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from bench import console, disks, keyserver, network, processes, ssh, storm
from bench.row import Measure, Row, table
from bench.workshop import Workshop

ROWS: Mapping[str, Measure] = {
    "version": processes.version,
    "hostname": processes.hostname,
    "first-prompt": processes.first_prompt,
    "boot": processes.boot,
    "restore": network.restore,
    "scaling": network.scaling,
    "client": network.client,
    "status": network.status,
    "rekey": disks.rekey,
    "lock": disks.lock,
    "unlock": disks.unlock,
    "lines": console.lines,
    "completion": console.completion,
    "man": console.man,
    "memory": processes.memory,
    "keyserver": keyserver.keyserver,
    "keyserver-boot": keyserver.keyserver_boot,
    "keyserver-idle": keyserver.keyserver_idle,
    "ssh": ssh.ssh,
    "storm": storm.storm,
}
"""The rows of README.md, in order."""

_PEERS = Path(__file__).parent.parent / ".venv-bench" / "bin"
_COMPARED = ("prompt_toolkit", "PyKMIP", "litecli", "cmd2", "xonsh")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 0 even if limits are not met."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("row", nargs="*", choices=[*ROWS, []], metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--quick", action="store_true", help="small sizes, one round")
    parser.add_argument("--peers", type=Path, default=_PEERS, help="directory of their programs")
    parser.add_argument("--results", type=Path, metavar="FILE", help="write the table to FILE")
    options = parser.parse_args(argv)
    rows: list[Row] = []
    with TemporaryDirectory(prefix="filer-bench-") as directory:
        os.environ["XDG_STATE_HOME"] = directory  # do not use this user's prompt history
        shop = Workshop(Path(directory), options.peers, quick=options.quick)
        for name in options.row or ROWS:
            begun = perf_counter()
            print(f"{name}: ", end="", file=sys.stderr, flush=True)
            try:
                rows += ROWS[name](shop)
            except Exception as problem:  # a row that cannot be measured counts as not met
                traceback.print_exc()
                rows.append(Row(name, None, None, against=f"failed: {type(problem).__name__}"))
            print(f"{perf_counter() - begun:.0f} s", file=sys.stderr)
    print(table(rows), end="")
    if options.results:
        options.results.write_text(_results(rows, options.peers), encoding="utf-8")
    return 0


def _results(rows: Sequence[Row], peers: Path) -> str:
    met, measured = sum(row.met for row in rows), sum(not row.skipped for row in rows)
    return (
        "# Results\n\n"
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}: {met} of {measured} limits "
        f"met.  {platform.python_implementation()} {platform.python_version()}, "
        f"{os.cpu_count()} processors, {platform.system()} {platform.release()}; "
        f"{_versions(peers)}.  README.md explains each limit.\n\n"
        f"{table(rows)}"
    )


def _versions(peers: Path) -> str:
    found = dict[str, str]()
    library = [str(path) for path in peers.parent.glob("lib/python*/site-packages")]
    for place in (sys.path, library):
        for distribution in distributions(path=place):
            found.setdefault(distribution.metadata["Name"].lower(), distribution.version)
    return ", ".join(f"{name} {found.get(name.lower(), 'absent')}" for name in _COMPARED)


if __name__ == "__main__":
    sys.exit(main())
