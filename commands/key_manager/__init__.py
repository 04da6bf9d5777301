"""key_manager: external key server management commands."""

from collections.abc import Iterable, Sequence

from filer.commands import ALL_ANSWERS, Call, Command, Refused, Suggestion, changes_unless
from filer.registration.pem import address_of
from filer.system import Filer

SYNOPSIS = (
    "key_manager setup",
    "key_manager add ( -key_server ipaddr )+",
    "key_manager remove ( -key_server ipaddr )+",
    "key_manager show",
    "key_manager status ( -key_server ipaddr )*",
    "key_manager query ( -key_server ipaddr )*",
    "key_manager rekey [ -manual ] [ -key_tag tag ]",
    "key_manager restore -all [ -key_tag tag ]",
    "key_manager restore -key_server ipaddr [ -key_tag tag ]",
)

_ADDRESS = "the IP address of a key server"

HELP = {
    "setup": "a dialogue: which key servers, a key pair, rekey and lock all disks",
    "add": "add key servers to the system",
    "add -key_server": _ADDRESS,
    "remove": "take key servers away from the system",
    "remove -key_server": _ADDRESS,
    "show": "list the key servers that are registered",
    "status": "tell which key servers can be talked to",
    "status -key_server": _ADDRESS,
    "query": "list the key IDs that the key servers hold",
    "query -key_server": _ADDRESS,
    "rekey": "make a key pair and change the key of every disk to it",
    "rekey -manual": "the passphrase is typed instead of generated",
    "rekey -key_tag": "the text that goes with the new key ID",
    "restore": "load the key pairs that the key servers hold",
    "restore -all": "all key pairs from all registered key servers",
    "restore -key_server": "the key pairs from this key server",
    "restore -key_tag": "only the key pairs with this key tag",
}

_CLOSE = 0.6  # difflib's ratio, from which a word may be a slip of the pen


def _run(call: Call) -> None:
    if not call.filer.hardware.storage_encryption:
        raise Refused("Storage Encryption is not enabled on this system")
    from filer.commands.key_manager import keys, servers, setup  # no other command needs them

    subcommands = {
        "setup": setup.setup,
        "add": servers.add,
        "remove": servers.remove,
        "show": servers.show,
        "status": servers.status,
        "query": keys.query,
        "rekey": keys.rekey,
        "restore": keys.restore,
    }
    (subcommand,) = call.arguments.subcommand
    subcommands[subcommand](call)


def _addresses(filer: Filer, subcommand: tuple[str, ...]) -> Iterable[Suggestion]:
    registered = filer.registration.servers
    if subcommand != ("add",):
        return [(address, f"registered{_heard(filer, address)}") for address in registered]
    installed = filter(None, map(address_of, filer.installed.names()))
    return [
        (address, "registered" if address in registered else "certificate installed")
        for address in installed
    ]


def _heard(filer: Filer, address: str) -> str:
    if address not in filer.last_heard:
        return ""
    return ", up" if filer.last_heard[address] else ", not responding"


def _tags(filer: Filer, _subcommand: tuple[str, ...]) -> Iterable[Suggestion]:
    tags = {entry.tag: "in the keytable" for entry in filer.keytable}
    return {filer.key_tag: "default key tag", **tags}.items()


def _unread(words: Sequence[str]) -> int:
    """Look for what asks; mistyped, it may have answers behind it all the same."""
    if any(_is_meant(word, "setup") for word in words[:1]):
        return ALL_ANSWERS
    return 2 if any(_is_meant(word, "manual") for word in words) else 0


def _is_meant(word: str, name: str) -> bool:
    from difflib import get_close_matches

    return bool(get_close_matches(word.casefold().lstrip("-"), [name], cutoff=_CLOSE))


COMMAND = Command(
    name="key_manager",
    summary="external key server management commands",
    synopsis=SYNOPSIS,
    run=_run,
    variables={"ipaddr": _addresses, "tag": _tags},
    help=HELP,
    unread=_unread,
    changes=changes_unless("show", "status", "query"),
)
