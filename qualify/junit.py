"""The report as JUnit XML for CI: a test suite for each key server, a test case for each check."""

import re
from collections.abc import Sequence
from typing import TextIO
from xml.etree import ElementTree as Xml

from filer.host.standard_streams import write
from filer.qualify.outcome import Check, Result
from filer.qualify.report import Verdict

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


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
            failure = Xml.SubElement(case, "failure", message=_xml("; ".join(problems)))
            failure.text = _xml("\n".join([*problems, result.check.meaning]))
        elif result.status == "not_tested":
            Xml.SubElement(case, "skipped", message=_xml(result.reason or ""))
        shown = [*problems, *result.statements, *(exchanges if problems else ())]
        if shown:
            Xml.SubElement(case, "system-out").text = _xml("\n".join(shown))

    def end(self, verdicts: Sequence[Verdict]) -> None:
        for suite in self._suites:
            cases = suite.findall("testcase")
            for name, tag in (("failures", "failure"), ("skipped", "skipped")):
                suite.set(name, str(sum(case.find(tag) is not None for case in cases)))
            suite.set("tests", str(len(cases)))
            suite.set("errors", "0")
            suite.set("time", f"{sum(float(case.get('time', 0)) for case in cases):.3f}")
        Xml.indent(self._suites)
        text = Xml.tostring(self._suites, encoding="unicode")
        write(self._out, f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n')


def _xml(text: str) -> str:
    """Return ``text`` without the characters that XML does not allow."""
    return _NOT_XML.sub("?", text)
