"""What a person, or a script, sees of a boot."""

from filer.commands import Complaint, Console, Text


def _part(event: str) -> str:
    """Return which part of the boot tells ``event``."""
    part = event.partition(".")[0]
    return "kmip_init" if part == "kmip" else part


class BootNotices:
    """Tells a boot: warnings always, progress to a person only."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def progress(self, event: str, text: str) -> None:
        """Print a step of the boot on a terminal."""
        if self._console.is_terminal:
            self._console.show(Text(f"{_part(event)}: {text}"))

    def warning(self, event: str, text: str) -> None:
        """Print a warning."""
        warning = Complaint(f"{_part(event)}: {text}.", "boot", event=event)
        self._console.warn(warning.as_warning())

    def banner(self, lines: tuple[str, ...]) -> None:
        """Print a box."""
        self._console.warn(Complaint("\n".join(lines), "attention"))
