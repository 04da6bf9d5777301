"""kmip_init: fetch all key pairs from all registered key servers, early in the boot.

It reads /var/kmip only; /mroot is not mounted yet (man key_manager, CERTIFICATES and KEYTABLE).
"""

from collections.abc import Collection, Sequence

from filer.boot.notices import Notices
from filer.key_servers.holdings import Holdings
from filer.keys.keytable import CREATION_LIMIT, recommended_limit
from filer.kmip.failure import KeyServerFailure
from filer.registration.certificates import registered_warnings
from filer.running.interrupt import Interrupted
from filer.running.parallel import in_parallel
from filer.system import Filer

ATTENTION = (
    "********************************************************",
    "*                 A T T E N T I O N                    *",
    "*                                                      *",
    "*       System cannot connect to key managers.         *",
    "*                                                      *",
    "********************************************************",
)

_BETWEEN_TRIES = 1.0
"""Seconds between two tries while a registered key server does not answer."""

_PING_WAIT = 3 * 3600.0
"""Seconds that a boot waits for a connection to a key server (kmip.init.maxwait on)."""

_ANSWER_WAIT = 15 * 60.0
"""Seconds that it then waits for an answer."""


def is_asked_for(filer: Filer) -> bool:
    """Return whether this boot asks key servers for keys."""
    encrypts = filer.hardware.storage_encryption and filer.boot_arguments.key_manager
    return encrypts and bool(filer.registration.servers)


def load_keytable(filer: Filer, notices: Notices) -> Holdings:
    """Load the keytable from all key servers, and return what they hold.

    A server that does not answer is tried again for ``init_maxwait`` seconds, or until Ctrl-C, and
    then causes one warning.  With kmip.init.maxwait on, the wait is for one server: three hours for
    a connection to one, and 15 minutes for an answer.
    """
    if not is_asked_for(filer):
        return Holdings({}, {})
    begun = filer.monotonic()
    if interface := filer.boot_arguments.interface:
        notices.progress("kmip.init.ports", "configuring ports")
        notices.progress("kmip.init.ports", f"{interface.name} has the address {interface.address}")
    holdings, unreadable = _fetch(filer, notices)
    # Only now, because loading cryptography takes a while.
    certificates = filer.registration.certificates
    for _, warning in registered_warnings(certificates, filer.now(), filer.expiry_notice):
        notices.warning("kmip.init.certificate", warning)
    for address, failure in holdings.failures.items():
        notices.warning("kmip.init.noresponse", failure.about(address))
    for text in unreadable:
        notices.warning("kmip.init.unreadable", text)
    if not holdings.by_server:
        notices.banner(ATTENTION)
    filer.keytable.replace(holdings.ranking.entries.values())
    for surplus in holdings.ranking.surplus:
        notices.warning("kmip.init.surplus", str(surplus))
    if len(filer.keytable) > CREATION_LIMIT:
        notices.warning("kmip.init.keytable", recommended_limit(len(filer.keytable)))
    notices.progress(
        "kmip.init.done",
        f"{len(filer.registration.servers)} key servers, {len(filer.keytable)} key pairs loaded "
        f"({filer.monotonic() - begun:.2f} s)",
    )
    return holdings


def _fetch(filer: Filer, notices: Notices) -> tuple[Holdings, list[str]]:
    """Query until every server has answered, the wait is over, or Ctrl-C.

    With kmip.init.maxwait on, one answer is enough.  Requests the keys of the disks first.  Returns
    what has arrived, and what could not be read.
    """
    arguments = filer.boot_arguments
    registered = filer.registration.servers
    answers = Holdings({}, {})
    unreadable: dict[str, None] = {}
    silent: Collection[str] = registered
    try:
        seconds = filer.hardware.init_maxwait
        if arguments.waits_for_key_server:
            connects = not arguments.pings_first or _ping(filer, notices)
            seconds = _ANSWER_WAIT if connects else 0.0
        deadline = filer.monotonic() + seconds
        while True:
            servers = filer.key_servers(silent, arguments.interface)
            heard = servers.fetch_for_boot(filer.key_ids_in_use())
            answers = _joined(registered, answers, heard, asked=silent)
            unreadable.update(dict.fromkeys(servers.unreadable()))
            silent = [each for each, failure in answers.failures.items() if not failure.answered]
            is_enough = arguments.waits_for_key_server and answers.by_server
            if not silent or is_enough or not _try_again(filer, notices, silent, deadline):
                break
    except Interrupted:
        filer.interrupt.request()  # sleep() has consumed the request, which the boot still needs
    return answers, list(unreadable)


def _ping(filer: Filer, notices: Notices) -> bool:
    """Return whether one of the key servers accepts a connection within three hours.

    Raises Interrupted.
    """
    from filer.kmip.connection import reach  # slow to load

    interface, timeout = filer.boot_arguments.interface, filer.hardware.timeout

    def connects(address: str) -> bool:
        try:
            reach(address, filer.port, timeout, interface)
        except KeyServerFailure:
            return False
        return True

    servers = filer.registration.servers
    deadline = filer.monotonic() + _PING_WAIT
    while not any(in_parallel(servers, connects)):
        if not _try_again(filer, notices, servers, deadline):
            return False
    return True


def _try_again(filer: Filer, notices: Notices, silent: Collection[str], deadline: float) -> bool:
    """Wait until the next try, and return True; False if the deadline has passed."""
    left = deadline - filer.monotonic()
    if left <= 0:
        return False
    notices.attempt(
        "kmip.init.wait",
        f"no answer from {', '.join(silent)}; trying again for {left:.0f} s, "
        "press Ctrl-C to stop waiting",
    )
    filer.interrupt.sleep(min(_BETWEEN_TRIES, left))
    return True


def _joined(
    registered: Sequence[str], before: Holdings, heard: Holdings, asked: Collection[str]
) -> Holdings:
    """Merge the outcomes of the servers ``asked`` into ``before``; pairs read earlier are kept."""
    by_server = {}
    for address in registered:
        now, earlier = (each.by_server.get(address) for each in (heard, before))
        if now is not None or earlier is not None:
            kept = [pair for pair in earlier or () if pair not in (now or ())]
            by_server[address] = [*(now or ()), *kept]
    failures = {each: why for each, why in before.failures.items() if each not in asked}
    failures |= heard.failures
    unread = {
        each: {*before.unread.get(each, ()), *heard.unread.get(each, ())} for each in registered
    }
    return Holdings(
        by_server, {each: failures[each] for each in registered if each in failures}, unread
    )
