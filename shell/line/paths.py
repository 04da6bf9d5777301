"""Completion of paths of the host."""

import os
from collections.abc import Callable, Iterable, Iterator

Paths = Callable[[str, Callable[[str], bool]], Iterable[str]]
"""Returns the host's paths that begin with a text: directories, with a slash at the end, and the
files whose name a predicate accepts.
"""


def no_paths(_typed: str, _wanted: Callable[[str], bool]) -> Iterable[str]:
    """Return nothing: SSH users must not see the files of the host."""
    return ()


def host_paths(typed: str, wanted: Callable[[str], bool]) -> Iterator[str]:
    """Yield the paths of this host, as `Paths` describes."""
    if typed.startswith("/mroot/"):  # a path of the filer
        return
    from prompt_toolkit.completion import CompleteEvent, PathCompleter
    from prompt_toolkit.document import Document

    files = PathCompleter(
        file_filter=lambda path: os.path.isdir(path) or wanted(os.path.basename(path))  # noqa: PTH112, PTH119
    )
    for found in files.get_completions(Document(typed), CompleteEvent()):
        path = typed + found.text + ("/" if found.display_text.endswith("/") else "")
        if path.isprintable():
            yield path
