"""key_manager: external key server management commands."""

from collections.abc import Iterable

from filer.commands import ALL_ANSWERS, Answers, Command, Later, Subcommand, Suggestion
from filer.registration.pem import address_of
from filer.system import Filer


def _registered(filer: Filer) -> Iterable[Suggestion]:
    servers = filer.registration.servers
    return [(address, f"registered{_heard(filer, address)}") for address in servers]


def _heard(filer: Filer, address: str) -> str:
    if address not in filer.last_heard:
        return ""
    return ", up" if filer.last_heard[address] else ", not responding"


def _installed(filer: Filer) -> Iterable[Suggestion]:
    registered = filer.registration.servers
    return [
        (address, "registered" if address in registered else "certificate installed")
        for address in filter(None, map(address_of, filer.installed.names()))
    ]


def _tags(filer: Filer) -> Iterable[Suggestion]:
    tags = {entry.tag: "in the keytable" for entry in filer.keytable}
    return {filer.key_tag: "default key tag", **tags}.items()


_ADDRESS = {"-key_server": "the IP address of a key server"}

COMMANDS = (
    Command(
        "key_manager",
        "external key server management commands",
        Subcommand(
            "key_manager setup",
            Later("filer.commands.key_manager.setup:setup"),
            "configure key servers, create a key pair, rekey and lock all disks",
            asks=Answers(ALL_ANSWERS, secret=True),
        ),
        Subcommand(
            "key_manager add ( -key_server ipaddr )+",
            Later("filer.commands.key_manager.servers:add"),
            "add key servers to the system",
            options=_ADDRESS,
            values={"ipaddr": _installed},
        ),
        Subcommand(
            "key_manager remove ( -key_server ipaddr )+",
            Later("filer.commands.key_manager.servers:remove"),
            "remove key servers from the system",
            options=_ADDRESS,
            values={"ipaddr": _registered},
        ),
        Subcommand(
            "key_manager show",
            Later("filer.commands.key_manager.servers:show"),
            "list the registered key servers",
            changes=False,
        ),
        Subcommand(
            "key_manager status ( -key_server ipaddr )*",
            Later("filer.commands.key_manager.servers:status"),
            "show which key servers are responding",
            options=_ADDRESS,
            values={"ipaddr": _registered},
            changes=False,
        ),
        Subcommand(
            "key_manager query ( -key_server ipaddr )*",
            Later("filer.commands.key_manager.keys:query"),
            "list the key IDs that the key servers hold",
            options=_ADDRESS,
            values={"ipaddr": _registered},
            changes=False,
        ),
        Subcommand(
            "key_manager rekey [ -manual ] [ -key_tag tag ]",
            Later("filer.commands.key_manager.keys:rekey"),
            "create a key pair, and change the key of every disk to it",
            options={
                "-manual": "type the passphrase instead of having it generated",
                "-key_tag": "the text that goes with the new key ID",
            },
            values={"tag": _tags},
            asks=Answers(2, secret=True, option="-manual"),
        ),
        Subcommand(
            (
                "key_manager restore -all [ -key_tag tag ]",
                "key_manager restore -key_server ipaddr [ -key_tag tag ]",
            ),
            Later("filer.commands.key_manager.keys:restore"),
            "load the key pairs that the key servers hold",
            options={
                "-all": "all key pairs from all registered key servers",
                "-key_server": "the key pairs from this key server",
                "-key_tag": "only the key pairs with this key tag",
            },
            values={"ipaddr": _registered, "tag": _tags},
        ),
    ),
)
