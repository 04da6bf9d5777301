"""The checks that key_manager and disk encrypt share: Storage Encryption is enabled."""

from functools import wraps

from filer.commands import Call, Refused, Run


def managing_keys(run: Run) -> Run:
    """Return `encrypting` of ``run``, which is also refused if LOADER turned key_manager off."""

    @wraps(run)
    def checked(call: Call) -> None:
        if not call.filer.boot_arguments.key_manager:
            raise Refused("bootarg.keymanager.support is false; set it to true at LOADER")
        run(call)

    return encrypting(checked)


def encrypting(run: Run) -> Run:
    """Return ``run`` with a check that refuses it on a system without Storage Encryption."""

    @wraps(run)
    def checked(call: Call) -> None:
        if not call.filer.hardware.storage_encryption:
            raise Refused("Storage Encryption is not enabled on this system")
        run(call)

    return checked
