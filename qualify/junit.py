"""The report as JUnit XML for CI: a test suite for each key server, a test case for each check."""

from collections.abc import Sequence
from typing import TextIO
from xml.etree import ElementTree as Xml

from filer.host.junit import document, xml_text
from filer.host.standard_streams import write
from filer.qualify.outcome import Check, Result
from filer.qualify.report import Verdict


class JunitReport:
    """One XML document on standard output, at the end.

    A failed blocker is a failure.  Warnings and information pass, with their text in system-out, so
    that the verdict of a CI system is that of the exit status.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._suites = Xml.Element("testsuites", name="filer-qualify")

    def begin(self, key_server: str, port: int) -> None:
        name = f"filer-qualify {key_server} port {port}"
        self._suite = Xml.SubElement(self._suites, "testsuite", name=name)

    def begun(self, check: Check, number: int, count: int) -> None:
        """Write nothing."""

    def result(self, result: Result) -> None:
        case = Xml.SubElement(
            self._suite,
            "testcase",
            classname=f"filer-qualify.{result.key_server}",
            name=result.check.name,
            time=f"{result.duration_s:.3f}",
        )
        problems = [f"{each.severity}: {each.message}" for each in result.problems]
        exchanges = [
            line for each in result.exchanges for line in (f"> {each.request}", f"< {each.answer}")
        ]
        if result.blocks:
            failure = Xml.SubElement(case, "failure", message=xml_text("; ".join(problems)))
            failure.text = xml_text("\n".join([*problems, result.check.meaning]))
        elif result.status == "not_tested":
            Xml.SubElement(case, "skipped", message=xml_text(result.reason or ""))
        shown = [*problems, *result.statements, *(exchanges if problems else ())]
        if shown:
            Xml.SubElement(case, "system-out").text = xml_text("\n".join(shown))

    def end(self, verdicts: Sequence[Verdict]) -> None:
        write(self._out, document(self._suites))
