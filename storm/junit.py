"""The report as JUnit XML for CI: a test case for each filer, and one for the load generator."""

from xml.etree import ElementTree as Xml

from filer.host import junit
from filer.storm import text
from filer.storm.outcome import NO_VERDICT, Outcome
from filer.storm.plan import PROGRAM


def document(outcome: Outcome) -> str:
    """Return the report; without a verdict, the load generator is an error."""
    suites = Xml.Element("testsuites", name=PROGRAM)
    suite = Xml.SubElement(suites, "testsuite", name=f"{PROGRAM} {outcome.plan.scenario}")
    generator = Xml.SubElement(suite, "testcase", classname=PROGRAM, name="load generator")
    if outcome.verdict == "no_verdict":
        Xml.SubElement(generator, "error", message=NO_VERDICT)
    Xml.SubElement(generator, "system-out").text = junit.xml_text("\n".join(text.lines(outcome)))
    for each in outcome.results:
        case = Xml.SubElement(
            suite,
            "testcase",
            classname=f"{PROGRAM}.{outcome.plan.scenario}",
            name=f"filer {each.number}",
            time=f"{each.seconds or 0:.3f}",
        )
        if each.problem:
            Xml.SubElement(case, "failure", message=junit.xml_text(each.problem))
    return junit.document(suites)
