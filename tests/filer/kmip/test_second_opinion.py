"""The filer reads answers as PyKMIP does: real ones, hand-made ones and mutations of both."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_filer.key_server_process import key_servers
from pytest_filer.key_servers import ADDRESSES
from tests.conftest import Count
from tests.kit import points, second_opinion
from tests.kit.answers import Recorded, hand_made, mutated, recorded_from, stock_server
from tests.kit.second_opinion import CannotTell, differences

MUTATIONS = 100_000 if points.ALL else 2_000
PARTS = 20
"""The mutations are tried in parts, so that a failure names a short range and parts run at once."""

HAND_MADE = list(hand_made())


@pytest.fixture(scope="module")
def real(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Recorded]:
    """The answers of the trial key server and of PyKMIP's own server."""
    directory = tmp_path_factory.mktemp("real answers")
    with key_servers(authority, directory / "key servers", ADDRESSES) as start:
        (server,) = start(1)
        with stock_server(server, directory) as port:
            return [
                *recorded_from("filer-keyserver", server),
                *recorded_from("PyKMIP's server", server, port),
            ]


def test_every_real_answer_is_read_as_pykmip_does(real: Sequence[Recorded]) -> None:
    for answer in real:
        assert differences(answer.body, answer.items, answer.first) == [], answer.name


@pytest.mark.parametrize("answer", HAND_MADE, ids=lambda answer: answer.name)
def test_every_hand_made_answer_is_read_as_pykmip_does(answer: Recorded) -> None:
    if second_opinion.excepted(answer.body):
        with pytest.raises(CannotTell):
            differences(answer.body, answer.items, answer.first)
    else:
        assert differences(answer.body, answer.items, answer.first) == []


@pytest.mark.parametrize("part", range(PARTS))
def test_what_pykmip_can_read_of_mutated_answers_is_read_as_it_does(
    part: int, real: Sequence[Recorded], count: Count
) -> None:
    answers = [*real, *HAND_MADE]
    seeds = range(part * MUTATIONS // PARTS, (part + 1) * MUTATIONS // PARTS)
    opinions = 0
    for seed in seeds:
        answer = answers[seed % len(answers)]
        try:
            found = differences(mutated(answer, seed), answer.items, answer.first)
        except CannotTell:
            continue
        opinions += 1
        assert found == [], f"{answer.name}, seed {seed}"
    assert opinions > len(seeds) / 5
    count("mutated answers", len(seeds), 100_000 // PARTS)
