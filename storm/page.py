"""The report as HTML: the text, then the tables and charts of Locust."""

from html import escape

from filer.storm import text
from filer.storm.outcome import Outcome


def document(outcome: Outcome, of_locust: str) -> str:
    """Return the page ``of_locust`` with the report at its beginning."""
    first, *others = text.lines(outcome)
    report = f"<h1>{escape(first)}</h1>\n<pre>{escape(chr(10).join(others))}</pre>\n"
    page = of_locust.replace("<title>Locust</title>", f"<title>{escape(first)}</title>", 1)
    head, body, rest = page.partition("<body>")
    return f"{head}{body}\n{report}{rest}" if body else f"{report}{page}"
