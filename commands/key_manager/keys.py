"""key_manager query, rekey, restore: key pairs on the key servers and in the keytable."""

from filer.commands import GAP, Call, Complaint, Note, Refused, Unprefixed
from filer.commands.disk.report import report_absent, report_disks, select_disks
from filer.commands.key_manager.results import (
    KeyPairCreated,
    Origin,
    QueryBlock,
    QueryRow,
    RestoredKeys,
)
from filer.commands.key_manager.servers import servers_in_question
from filer.commands.parts.dialogue import ask_passphrase
from filer.commands.parts.encryption import managing_keys
from filer.commands.parts.server_warnings import (
    not_responding,
    warn_of_conflict,
    warn_of_servers,
)
from filer.disks.jobs import DiskReport, Held
from filer.disks.ownership import Ownership
from filer.host.passphrase_rule import is_passphrase
from filer.host.text import listed
from filer.key_servers.creation import KeyCreationError, NoKeyServers, refuse_early, store_key_pair
from filer.key_servers.holdings import conflict
from filer.key_servers.restore import load, read
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.key_id import MSID_KEY_ID
from filer.keys.keytable import CREATION_LIMIT, recommended_limit
from filer.keys.pair import KeyPair, is_key_tag
from filer.keys.passphrase import generate
from filer.kmip.failure import PartlyRead


def checked_tag(tag: str) -> str:
    """Return ``tag``.  Raises Refused unless it is a valid key tag."""
    if not is_key_tag(tag):
        raise Refused("a key tag has 1 to 64 printable ASCII characters without blanks")
    return tag


def new_tag(tag: str) -> str:
    """Return ``tag`` for a new key pair, as `checked_tag` does.

    A passphrase is refused: key tags are shown, and stored unencrypted.
    """
    if is_passphrase(tag):
        raise Refused("a key tag is not secret, and this one could be a passphrase; choose another")
    return checked_tag(tag)


@managing_keys
def query(call: Call) -> None:
    """Run ``key_manager query``."""
    servers = servers_in_question(call)
    holdings = servers.fetch(call.filer.key_ids_in_use())
    keytable = call.filer.keytable
    any_unknown = False
    for number, address in enumerate(servers.servers):
        if number:
            call.show(GAP)
        if address in holdings.failures:
            call.fail(not_responding(address, holdings.failures[address]))
        if address not in holdings.by_server:
            continue
        names = {(pair.tag, pair.key_id) for pair in holdings.by_server[address]}
        rows = [QueryRow(tag, key_id, key_id in keytable) for tag, key_id in sorted(names)]
        any_unknown = any_unknown or not all(row.in_keytable for row in rows)
        call.show(QueryBlock(address, rows))
    if any_unknown:
        call.show(
            Note(
                'Use "key_manager restore" to load the key IDs marked "*" '
                "into the internal keytable."
            )
        )
    warn_of_servers(call, servers)


@managing_keys
def rekey(call: Call) -> None:
    """Run ``key_manager rekey``: a new key pair, then ``disk encrypt rekey new_key_id *``."""
    given = call.value("tag")
    tag = call.filer.key_tag if given is None else new_tag(given)
    pair = new_key_pair(call, tag, manual="-manual" in call.arguments.options)

    def just_read_back(key_id: str, key: AuthenticationKey) -> bool:
        return key_id == pair.key_id and key == pair.key

    report_disks(call, rekey_all_disks(call, pair, just_read_back, call.filer.ownership()))


def new_key_pair(call: Call, tag: str, *, manual: bool) -> KeyPair:
    """Create a key pair on every key server, and print its key ID.

    All conditions are checked before a passphrase is asked for.  Raises FilerError; nothing has
    changed then.
    """
    filer = call.filer
    servers = filer.key_servers()
    in_use = {disk.key_id for disk in filer.ownership().own(filer.shelf)} - {MSID_KEY_ID}
    try:
        contested = refuse_early(servers, filer.identity, filer.keytable, in_use)
        for key_id, holders in contested.items():
            warn_of_conflict(call, key_id, holders, conflict(key_id, holders))
        key = ask_passphrase(call.console) if manual else generate(filer.random)
        filer.interrupt.check()
        pair = filer.identity.new_pair(tag, key, filer.random)
        store_key_pair(servers, filer.identity, filer.keytable, pair)
    except NoKeyServers as refusal:
        raise Unprefixed(str(refusal)) from None
    except KeyCreationError as refusal:
        for text in refusal.left_behind:
            call.fail(Complaint(f"key_manager: {text}", "key_left_behind", key_id=pair.key_id))
        raise
    filer.messages.log("kmip.key.created", "info", f"key ID {pair.key_id}, key tag {pair.tag}")
    origin: Origin = "manual" if manual else "generated"
    call.show(KeyPairCreated(origin, pair.key_id, pair.tag, tuple(servers.servers)))
    for address in servers.untagged:
        text = f"key server {address} keeps no key tag with key ID {pair.key_id}."
        call.console.warn(Complaint(text, "key_server").as_warning())
    return pair


def rekey_all_disks(call: Call, pair: KeyPair, held: Held, ownership: Ownership) -> DiskReport:
    """Rekey all disks of this system to ``pair``; ``held`` confirms that a key server has it."""
    disks = select_disks(call, ("*",), ownership)
    report_absent(call, ("*",), "key")
    jobs = call.filer.disk_jobs()
    return jobs.rekey(disks, pair.key_id, held=held, refusal=ownership.refusal)


@managing_keys
def restore(call: Call) -> None:
    """Run ``key_manager restore``."""
    everything = "-all" in call.arguments.options
    tag = call.value("tag")
    if tag is not None:
        checked_tag(tag)
    filer = call.filer
    servers = servers_in_question(call)
    in_use = filer.key_ids_in_use()
    absent = filer.shelf.absent()
    holdings = read(servers, filer.keytable, in_use, discard=everything)
    for address, failure in holdings.failures.items():
        call.fail(not_responding(address, failure))
    restored = load(
        filer.keytable,
        holdings,
        in_use,
        filer.accepted_keys(),
        tag,
        discard=everything,
        all_read=not absent,
    )
    if holdings.by_server:
        call.show(RestoredKeys.of(restored))
    if everything and not restored.complete:
        partly = all(isinstance(each, PartlyRead) for each in holdings.failures.values())
        did = "showed all key pairs" if partly else "answered"
        text = f"key_manager: not every key server {did}; no key pairs were removed"
        call.fail(Complaint(text, "restore_incomplete"))
    own = {disk.key_id for disk in filer.ownership().own(filer.shelf)}
    for key_id, disks in restored.kept.items():
        whose, there = ("", "") if key_id in own else (" of other systems", " there")
        text = (
            f"kept: {key_id}, in use by {disks} disks{whose}, on no key server; "
            f'run "key_manager rekey"{there}'
        )
        if not disks:
            text = f"kept: {key_id}, on no key server; {listed(list(absent))} may need it"
        call.fail(Complaint(text, "key_kept", key_id=key_id, disk_count=disks))
    for surplus in restored.surplus:
        warn_of_conflict(call, surplus.key_id, [surplus.server], str(surplus))
    for key_id, holders in restored.contradictions.items():
        warn_of_conflict(call, key_id, holders, conflict(key_id, holders))
    for key_id, holders in restored.differences.items():
        text = f"the keytable has another key for key ID {key_id} than {', '.join(holders)}"
        warn_of_conflict(call, key_id, holders, text)
    if restored.total > CREATION_LIMIT:
        text = f"{recommended_limit(restored.total)}."
        call.console.warn(Complaint(text, "keytable", key_pairs=restored.total).as_warning())
    warn_of_servers(call, servers)
