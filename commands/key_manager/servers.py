"""key_manager add, remove, show, status: register key servers, and check that they answer."""

from collections.abc import Collection, Mapping, Sequence

from filer.commands import Call, Complaint, Refused, Unprefixed
from filer.commands.key_manager.results import (
    NO_KEY_SERVERS,
    RegisteredFiles,
    RegisteredServers,
    RegisteredWithFiles,
    Responding,
    UnregisteredServers,
)
from filer.commands.keymgr import warn_of_certificates, warn_of_registered_certificates
from filer.commands.parts.dialogue import ask_consent
from filer.commands.parts.encryption import managing_keys
from filer.commands.parts.server_warnings import (
    not_responding,
    refuse_too_many,
    warn_of,
    warn_of_lost_keys,
    warn_of_servers,
    warn_of_wrong_keys,
)
from filer.key_servers.group import KeyServers
from filer.key_servers.holdings import Holdings
from filer.kmip.address import parse_address
from filer.registration.pem import CLIENT, ca_name
from filer.registration.plan import CLIENT_FILES, with_client_files, with_servers, without_servers
from filer.trial import Trial, begin, fetch_needed, missing_from, out_of_reach


def addresses(call: Call) -> list[str]:
    """Return the given addresses without duplicates.  Raises FilerError if one is invalid."""
    return list(dict.fromkeys(map(parse_address, call.words("ipaddr"))))


def registered_addresses(call: Call) -> list[str]:
    """Return the given addresses.  Raises Refused if one is not registered."""
    wanted = addresses(call)
    for address in wanted:
        if address not in call.filer.registration.servers:
            raise Refused(f"key server {address} is not registered")
    return wanted


def servers_in_question(call: Call) -> KeyServers:
    """Return the key servers that the line names, or all if it names none.

    Raises Unprefixed if no key server is registered, and Refused if a named one is not.
    """
    if not call.filer.registration.servers:
        raise Unprefixed(NO_KEY_SERVERS)
    return call.filer.key_servers(registered_addresses(call) or None)


def show_copied(call: Call, copied: Sequence[str]) -> None:
    """Show which certificate files were registered, if any."""
    if copied:
        call.show(RegisteredFiles(copied))


def warn_of_change(call: Call, trial: Trial) -> None:
    """Warn about what was accepted because the registered client certificate has expired."""
    for warning in trial.warnings:
        call.console.warn(Complaint(f"{warning}.", "certificate", name=CLIENT).as_warning())


def remove_anyway(call: Call, lost: Mapping[str, int]) -> bool:
    """Warn about the keys of locked disks that would be out of reach; return whether to go on."""
    if not lost:
        return True
    warn_of_lost_keys(call, lost)
    return ask_consent(call.console, "Remove anyway?")


@managing_keys
def show(call: Call) -> None:
    """Run ``key_manager show``."""
    call.show(RegisteredServers(call.filer.registration.servers))


@managing_keys
def status(call: Call) -> None:
    """Run ``key_manager status``: a KMIP exchange with each server."""
    servers = servers_in_question(call)
    heard = servers.probe()
    for address in servers.servers:
        if address in heard.answers:
            call.show(Responding(address))
        else:
            call.fail(not_responding(address, heard.failures[address]))
    warn_of_servers(call, servers)
    warn_of_registered_certificates(call)


@managing_keys
def add(call: Call) -> None:
    """Run ``key_manager add``."""
    filer = call.filer
    added = addresses(call)
    servers = list(dict.fromkeys([*filer.registration.servers, *added]))
    refuse_too_many(servers, "registered")
    clients = with_client_files(filer.registration, filer.installed.find)
    planned = with_servers(
        clients.registration, servers, added, filer.installed.find, must_be_installed=True
    )
    warn_of_certificates(
        call, planned.registration.certificates, (*CLIENT_FILES, *map(ca_name, added))
    )
    with begin(filer, planned.registration) as trial:
        warn_of_change(call, trial)
        asked = trial.key_servers(added)
        asked.probe()
        every = trial.key_servers(servers)
        every.failed.update(asked.failed)  # do not wait for these again
        holdings = fetch_needed(filer, every)
        lost = missing_from(filer, holdings)
        if trial.replaces:
            if not remove_anyway(call, lost):
                raise Refused("the key servers stay as they were")
            lost = {}
        trial.accept()
    show_copied(call, clients.copied)
    call.show(RegisteredWithFiles(added, planned.copied))
    warn_of(call, asked)
    _warn_of_keys_not_held(call, added, filer.key_ids_in_use(), holdings)
    warn_of_wrong_keys(call, holdings)
    warn_of_lost_keys(call, lost)


def _warn_of_keys_not_held(
    call: Call, added: Sequence[str], in_use: Collection[str], holdings: Holdings
) -> None:
    """Warn for each added key server that does not hold all the keys in use."""
    for address in added:
        if address not in holdings.by_server:
            continue  # there is a warning that it does not respond
        shown = {pair.key_id for pair in holdings.by_server[address]}
        held = len(shown.intersection(in_use))
        if held < len(in_use):
            text = (
                f"key server {address} holds {held} of the {len(in_use)} keys that disks use; "
                '"key_manager rekey" gives it and all disks a new one.'
            )
            warning = Complaint(
                text, "keys_not_held", key_server=address, held=held, in_use=len(in_use)
            )
            call.console.warn(warning.as_warning())


@managing_keys
def remove(call: Call) -> None:
    """Run ``key_manager remove``."""
    removed = addresses(call)
    refuse_too_many(removed, "removed")
    registered_addresses(call)
    filer = call.filer
    left = without_servers(filer.registration, removed)
    if not remove_anyway(call, out_of_reach(filer, filer.key_servers(left.servers))):
        raise Refused("no key server was removed")
    begin(filer, left).accept()
    call.show(UnregisteredServers(removed))
