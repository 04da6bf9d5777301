"""The check that key_manager and disk encrypt share: Storage Encryption is enabled."""

from functools import wraps

from filer.commands import Call, Refused, Run


def encrypting(run: Run) -> Run:
    """Return ``run`` with a check that refuses it on a system without Storage Encryption."""

    @wraps(run)
    def checked(call: Call) -> None:
        if not call.filer.hardware.storage_encryption:
            raise Refused("Storage Encryption is not enabled on this system")
        run(call)

    return checked
