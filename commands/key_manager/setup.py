"""key_manager setup: the dialogue that configures key servers and encrypts all disks."""

from collections.abc import Sequence

from filer.commands import GAP, Call, Note, Refused
from filer.commands.disk.report import held_by_key_servers, report_disks
from filer.commands.key_manager.keys import new_key_pair, new_tag, rekey_all_disks
from filer.commands.key_manager.results import RegisteredWithFiles
from filer.commands.key_manager.servers import remove_anyway, show_copied, warn_of_change
from filer.commands.keymgr import warn_of_certificates
from filer.commands.parts.dialogue import AnswerRefused, ask_until, ask_yes_no
from filer.commands.parts.encryption import managing_keys
from filer.commands.parts.server_warnings import warn_of, warn_of_wrong_keys
from filer.host.errors import FilerError
from filer.kmip.address import HIGHEST_PORT, AddressError, parse_address, parse_port
from filer.registration.pem import ca_name
from filer.registration.plan import CLIENT_FILES, with_client_files, with_servers
from filer.registration.registration import MAXIMUM
from filer.trial import begin, fetch_needed, missing_from

_QUIT = "q"


@managing_keys
def setup(call: Call) -> None:
    """Run ``key_manager setup``.

    Raises FilerError, or Cancelled and EndOfAnswers from a question.  Before "Registering" only the
    registered client files have changed.
    """
    _register_client_files(call)
    servers = _ask_servers(call)
    port = ask_port(call)
    tag = ask_tag(call)
    _register(call, servers, port, tag)
    call.show(GAP)
    if ask_yes_no(
        call.console,
        "Create a passphrase for the system's encrypting drives at this time?",
        default=True,
    ):
        _encrypt_drives(call, tag)
    call.asked_all = True


def _register_client_files(call: Call) -> None:
    filer = call.filer
    planned = with_client_files(filer.registration, filer.installed.find)
    warn_of_certificates(call, planned.registration.certificates, CLIENT_FILES)
    if planned.copied:
        trial = begin(filer, planned.registration)
        warn_of_change(call, trial)
        trial.accept()
        show_copied(call, planned.copied)


def _ask_servers(call: Call) -> Sequence[str]:
    """Ask for up to four key servers; the registered ones are the defaults, in order."""
    defaults = list(call.filer.registration.servers)
    servers: list[str] = []
    asked = 0
    while len(servers) < MAXIMUM:
        default = defaults[asked] if asked < len(defaults) else None
        hint = f" [{default}]" if default else ""
        answer = ask_until(
            call.console,
            f"Enter the IP address for a key server, '{_QUIT}' to quit{hint}: ",
            lambda text: text if text in ("", _QUIT) else parse_address(text),
        )
        asked += 1
        address = answer or default
        if address not in (None, _QUIT):
            servers = list(dict.fromkeys([*servers, address]))
        elif servers:
            break
        else:
            call.show(AnswerRefused("At least one key server must be defined."))
            asked = 0
    return servers


def ask_port(call: Call) -> int:
    """Ask for the port of all key servers.  Raises Cancelled or EndOfAnswers."""
    default = call.filer.port

    def read(answer: str) -> int:
        if not answer:
            return default
        try:
            return parse_port(answer)
        except AddressError:
            raise FilerError(f"A TCP port number is 1 to {HIGHEST_PORT}.") from None

    return ask_until(call.console, f"Enter the TCP port number for kmip server [{default}]: ", read)


def ask_tag(call: Call) -> str:
    """Ask for the default key tag.  Raises Cancelled or EndOfAnswers."""
    default = call.filer.registration.default_tag or call.filer.hardware.hostname
    call.show(Note("\nA key tag names the keys of this system; the hostname is the usual choice."))
    if ask_yes_no(
        call.console, f"Would you like to use {default} as the default key tag name?", default=True
    ):
        return default
    return ask_until(call.console, "Enter the default key tag name: ", new_tag)


def _register(call: Call, servers: Sequence[str], port: int, tag: str) -> None:
    filer = call.filer
    named = with_servers(
        filer.registration, servers, servers, filer.installed.find, must_be_installed=False
    )
    warn_of_certificates(call, named.registration.certificates, map(ca_name, servers))
    registration = named.registration._replace(port=port, default_tag=tag)
    with begin(filer, registration) as trial:
        asked = trial.key_servers(servers)
        asked.probe()
        holdings = fetch_needed(filer, asked)
        changes = trial.replaces or named.copied
        if changes and not remove_anyway(call, missing_from(filer, holdings)):
            raise Refused("the key servers stay as they were")
        call.show(GAP)
        trial.accept()
    call.show(RegisteredWithFiles(servers, named.copied))
    warn_of(call, asked)
    warn_of_wrong_keys(call, holdings)


def _encrypt_drives(call: Call, tag: str) -> None:
    manual = not ask_yes_no(
        call.console, "Would you like to use a generated passphrase?", default=True
    )
    call.show(GAP)
    pair = new_key_pair(call, tag, manual=manual)
    call.show(GAP)
    if not ask_yes_no(
        call.console,
        "Do you wish to rekey and lock all encrypting drives at this time?",
        default=False,
    ):
        return
    # The question may have waited for hours, so ask the key servers again what they hold.
    held = held_by_key_servers(call, pair.key_id)
    ownership = call.filer.ownership()
    rekeyed = rekey_all_disks(call, pair, held, ownership)
    report_disks(call, rekeyed)
    if rekeyed.not_reached or not rekeyed.succeeded:
        return
    disks = [call.filer.shelf[name] for name in rekeyed.succeeded]
    jobs = call.filer.disk_jobs()
    report_disks(call, jobs.lock(disks, held=held, refusal=ownership.refusal))
