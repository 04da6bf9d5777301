"""kmip_init: fetch all key pairs from all registered key servers, early in the boot.

It reads /var/kmip only; /mroot is not mounted yet (man key_manager, CERTIFICATES and KEYTABLE).
"""

import time
from collections.abc import Collection, Sequence

from filer.boot.notices import Notices
from filer.key_servers.holdings import Holdings
from filer.keys.keytable import CREATION_LIMIT, recommended_limit
from filer.running.interrupt import Interrupted
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


def load_keytable(filer: Filer, notices: Notices) -> Holdings:
    """Load the keytable from all key servers, and return what they hold.

    A server that does not answer is tried again for ``init_maxwait`` seconds, or until Ctrl-C, and
    then causes one warning.
    """
    if not filer.registration.servers or not filer.hardware.storage_encryption:
        return Holdings({}, {})
    begun = time.monotonic()
    holdings, unreadable = _fetch(filer, notices)
    from filer.registration.certificates import registered_warnings  # slow to load

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
        f"({time.monotonic() - begun:.2f} s)",
    )
    return holdings


def _fetch(filer: Filer, notices: Notices) -> tuple[Holdings, list[str]]:
    """Query until every server has answered, init_maxwait seconds have passed, or Ctrl-C.

    Requests the keys of the disks first.  Returns what has arrived, and what could not be read.
    """
    deadline = time.monotonic() + filer.hardware.init_maxwait
    registered = filer.registration.servers
    answers = Holdings({}, {})
    unreadable: dict[str, None] = {}
    silent: Collection[str] = registered
    try:
        while True:
            servers = filer.key_servers(silent)
            heard = servers.fetch_for_boot(filer.key_ids_in_use())
            answers = _joined(registered, answers, heard, asked=silent)
            unreadable.update(dict.fromkeys(servers.unreadable()))
            silent = [each for each, failure in answers.failures.items() if not failure.answered]
            left = deadline - time.monotonic()
            if not silent or left <= 0:
                break
            notices.attempt(
                "kmip.init.wait",
                f"no answer from {', '.join(silent)}; trying again for {left:.0f} s, "
                "press Ctrl-C to stop waiting",
            )
            filer.interrupt.sleep(min(_BETWEEN_TRIES, left))
    except Interrupted:
        filer.interrupt.request()  # sleep() has consumed the request, which the boot still needs
    return answers, list(unreadable)


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
