"""The README shows what the program does."""

from tests import transcript


def test_transcript_is_what_the_program_prints_today() -> None:
    recorded, printed = map(transcript.pattern, (transcript.recorded(), transcript.record()))

    assert printed == recorded


def test_transcript_ends_with_the_second_key_on_locked_disks_and_nothing_unknown() -> None:
    shown = transcript.pattern(transcript.recorded())

    assert "0c.00.1    KEYID2 Yes" in shown
    assert "*KEYID" not in shown
