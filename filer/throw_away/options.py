"""Options of the programs that store throw-away pairs."""

from filer.host.command_line import Parser, directory, file
from filer.kmip.options import add_consent


def cleanup_parser(program: str, run: str) -> Parser:
    """Return the parser of ``PROGRAM cleanup LEDGER``; ``run`` is what has left the ledger."""
    parser = Parser(
        prog=f"{program} cleanup",
        description=f"Destroy what a {run} has left, as its ledger says.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("ledger", metavar="LEDGER", type=file, help=f"the ledger of the {run}")
    add("--certs", metavar="DIR", type=directory, help=f"default: those of the {run}")
    add_consent(parser)
    return parser
