"""JUnit XML, the format in which CI systems read results."""

import re
from xml.etree import ElementTree as Xml

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TOTALS = (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"))


def xml_text(text: str) -> str:
    """Return ``text`` without the characters that XML does not allow."""
    return _NOT_XML.sub("?", text)


def document(suites: Xml.Element) -> str:
    """Return the document of ``suites``, whose test suites get their totals."""
    for suite in suites:
        cases = suite.findall("testcase")
        for name, tag in _TOTALS:
            suite.set(name, str(sum(case.find(tag) is not None for case in cases)))
        suite.set("tests", str(len(cases)))
        suite.set("time", f"{sum(float(case.get('time', 0)) for case in cases):.3f}")
    Xml.indent(suites)
    text = Xml.tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'
