"""Distributions with a plug-in, as pip would install them."""

from collections.abc import Sequence
from pathlib import Path

OURS = "filer.commands.v1"


def install(
    site: Path, name: str, source: str | None, *, entry: str = "", groups: Sequence[str] = (OURS,)
) -> None:
    """Install a distribution that announces one plug-in, the module ``name``."""
    if source is not None:
        (site / f"{name}.py").write_text(source, encoding="utf-8")
    information = site / f"{name}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "".join(f"[{group}]\n{name} = {entry or name}\n" for group in groups)
    )
