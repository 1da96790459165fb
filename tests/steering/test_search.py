"""Searches know values and slopes alone: here of problems whose optimum is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dt.steering.optimizing import sign_test
from dt.steering.problem import OWN, Tokens, Vectors
from dt.steering.search.drawing import cross_entropy, random
from dt.steering.search.exact import in_parts, size_of, sweep
from dt.steering.search.gradient import gradient
from dt.steering.search.greedy import beam, greedy


def unwritten(*_: object) -> object:
    raise AssertionError("nothing is written: values are known")


class Table:
    """Scores of three contexts: a table of each position's tokens, and one of neighbours'."""

    def __init__(self, places: int, size: int):
        rng = np.random.default_rng(1)
        self.count = 3
        self.own = np.zeros((3, places), np.int64)
        self.space = Tokens("tokens", self.own, size, unwritten)  # type: ignore[arg-type]
        self.single = rng.normal(size=(3, places, size))
        self.pairs = rng.normal(size=(3, size, size))

    def values(self, candidates: np.ndarray) -> np.ndarray:
        tokens = np.where(candidates == OWN, self.own[:, None], candidates)
        rows, places = np.arange(3)[:, None, None], np.arange(tokens.shape[2])
        single = self.single[rows, places, tokens].sum(axis=-1)
        return single + self.pairs[rows, tokens[..., :-1], tokens[..., 1:]].sum(axis=-1)

    def slopes(self, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.values(candidates), np.repeat(self.single[:, None], candidates.shape[1], axis=1)


class Bowl:
    """Minus the squared distance to a point of each of two contexts."""

    def __init__(self, size: int, group: int = 1, radius: float | None = None):
        rng = np.random.default_rng(2)
        self.count, self.point = 2, rng.uniform(-0.9, 0.9, (2, size))
        start = np.full((2, size), 0.5)
        self.space = Vectors(
            "numbers", start, start - 1.5, start + 0.5, unwritten, "", group, radius
        )  # type: ignore[arg-type]

    def values(self, candidates: np.ndarray) -> np.ndarray:
        return -np.square(candidates - self.point[:, None]).sum(axis=-1)

    def slopes(self, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.values(candidates), -2 * (candidates - self.point[:, None])


def test_a_sweep_of_tokens_is_brute_force() -> None:
    problem = Table(3, 4)
    every = np.array(list(itertools.product(range(4), repeat=3)))
    scores = problem.values(np.broadcast_to(every, (3, *every.shape)))
    np.testing.assert_allclose(sweep(problem, 2).value, scores.max(axis=1))
    assert size_of(problem.space, 2) == sum(len(part) for part in in_parts(problem.space)) == 125
    one = np.concatenate(list(in_parts(problem.space, 1, 1)))
    assert len(one) == 12 and ((one != OWN).sum(axis=1) == 1).all()


def test_greedy_and_beam_come_near_the_optimum_and_beat_random_at_equal_budget() -> None:
    problem, rng = Table(4, 40), np.random.default_rng(0)
    chance = np.mean([random(problem, rng, 300).value.mean() for _ in range(5)])
    for search in (greedy, beam):
        found = np.mean([search(problem, rng, 300).value.mean() for _ in range(5)])
        assert found > chance + 1.0
    assert (greedy(problem, rng, 100, most=1).candidate != OWN).sum(axis=1).max() <= 1


def test_the_cross_entropy_method_finds_tokens_and_numbers() -> None:
    tokens, rng = Table(3, 4), np.random.default_rng(0)
    np.testing.assert_allclose(cross_entropy(tokens, rng, 1500).value, sweep(tokens, 2).value)
    bowl = Bowl(6)
    best = cross_entropy(bowl, rng, 1500)
    np.testing.assert_allclose(best.candidate, bowl.point, atol=0.05)


def test_a_gradient_climbs_and_stays_inside() -> None:
    rng = np.random.default_rng(0)
    bowl = Bowl(5)
    best = gradient(bowl, rng, 2, 60)
    np.testing.assert_allclose(best.candidate, bowl.point, atol=0.06)
    ball = Bowl(6, group=3, radius=0.1)
    kept = gradient(ball, rng, 2, 30).candidate.reshape(2, 2, 3)
    assert np.linalg.norm(kept, axis=-1).max() <= 0.1 + 1e-6
    drawn = ball.space.sample(rng, 50).reshape(2, 50, 2, 3)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=-1), 0.1)


def test_a_grid_holds_the_ends_and_starts_cover_all_of_a_line() -> None:
    line = Bowl(1)
    assert line.space.grid(5)[0, :, 0].tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    best = sweep(line, 101)
    np.testing.assert_allclose(best.candidate, line.point, atol=0.01)
    with pytest.raises(ValueError, match="one or two numbers, and numbers has 3"):
        sweep(Bowl(3), 5)
    for search, problem in ((greedy, line), (beam, line)):
        with pytest.raises(ValueError, match="of tokens"):
            search(problem, np.random.default_rng(0), 9)
    with pytest.raises(ValueError, match="for numbers"):
        gradient(Table(2, 3), np.random.default_rng(0), 2, 3)


def test_a_sign_test_leaves_ties_out() -> None:
    wins, decided, p = sign_test(np.array([1.0, 2.0, 3.0, 0.0]), np.array([0.0, 1.0, 3.0, -1.0]))
    assert (wins, decided) == (3, 3) and p == pytest.approx(0.125)
    assert sign_test(np.ones(3), np.ones(3)) == (0, 0, 1.0)
