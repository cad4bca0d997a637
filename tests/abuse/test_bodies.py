"""Bodies that no honest client sends are answered or refused, by a real process; nothing fails, hangs or grows."""

import pytest

from benchmarks.abuse import bodies, fuzzing
from benchmarks.abuse.serving import Client, Serving

SMALL = "/v1/models/small"
PAGE = "/v1/models/page/denoise"
PATHS = {
    **dict.fromkeys(bodies.list_picture_kinds(), (f"{SMALL}/reconstruct?fit=contain", PAGE)),
    **dict.fromkeys(("npy", "json"), (f"{SMALL}/encode", f"{SMALL}/decode", PAGE)),
}


def test_good_bodies_are_answered(served: Serving) -> None:
    with Client(served.port) as client:
        for kind, (content_type, body) in bodies.seeds().items():
            assert client.ask("POST", PATHS[kind][0], body, content_type).status == 200


def test_mutants_are_answered_or_refused(served: Serving) -> None:
    outcome = fuzzing.fuzz(served, PATHS, 2_100)
    assert not outcome.broken, outcome.row()
    assert "2xx" in outcome.found  # some are still good pictures: what is fuzzed is not only the first check
    assert "4xx" in outcome.found
    assert "Traceback" not in served.said()


@pytest.mark.parametrize("bomb", bodies.bombs(), ids=lambda bomb: bomb.name)
def test_a_bomb_is_refused_at_once_and_leaves_nothing(served: Serving, bomb: bodies.Bomb) -> None:
    outcome = fuzzing.drop_bombs(served, PATHS, [bomb], seconds=1.0)  # measured tightly by benchmarks.abuse
    assert not outcome.broken, outcome.row()


def test_a_service_that_fails_is_not_called_well(served: Serving) -> None:
    bomb = bodies.Bomb("not one", "image/png", bodies.seeds()["png"][1], (422,))
    assert "200 after" in fuzzing.drop_bombs(served, PATHS, [bomb]).broken[0]
