"""What a person, or a script, sees of a boot."""

from commands import Console, Text

_PART = {
    "disk.encrypt.locked": "disk",
    "disk.encrypt.heldback": "disk",
    "disk.init.failure": "disk",
    "kmip.init.done": "kmip_init",
    "kmip.init.mismatch": "kmip_init",
    "kmip.init.noresponse": "kmip_init",
    "raid.aggr.online": "raid",
}
"""Which part of the boot tells an event."""


class BootNotices:
    """Tells a boot: warnings always, progress to a person only."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def progress(self, event: str, text: str) -> None:
        """Print a step of the boot on a terminal."""
        if self._console.is_terminal:
            self._console.show(Text(f"{_PART[event]}: {text}"))

    def warning(self, event: str, text: str) -> None:
        """Print a warning."""
        self._console.warn(f"WARNING: {_PART[event]}: {text}.")

    def banner(self, lines: tuple[str, ...]) -> None:
        """Print a box."""
        for line in lines:
            self._console.warn(line)
