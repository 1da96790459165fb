"""Invert the response: find the inputs that bring wanted returns, within a budget of episodes.

An input is a request and the weights of guidance that it is read by. Episodes are played where they
tell most: for each of a ladder of wanted returns a function is drawn from what is known of the
response (Thompson 1933), and the input is played that brings the wanted return by that function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dt.acting.inputs import Inputs
from dt.acting.policy import ReturnConditionedPolicy
from dt.data.summary import DatasetSummary
from dt.evaluation.evaluate import Venue, episode_seeds, play
from dt.steering.response import Response, features

# Weight, weight once all has come, and what share of the highest return counts as all: few steps of
# each, between the model as it is and what breaks it. They are not chosen for any task.
WEIGHTS = (
    (1.0, 1.0, 0.03),
    (1.5, 1.5, 0.03),
    (1.5, 6.0, 0.03),
    (1.5, 6.0, 0.1),
    (2.0, 8.0, 0.03),
    (3.0, 3.0, 0.03),
    (3.0, 8.0, 0.1),
    (6.0, 6.0, 0.03),
)
FIRST_REQUESTS = 7  # of each weights, before anything is known
CANDIDATES = 25  # requests of each weights that may be played
LADDER = 15  # wanted returns that a round plays for
EPISODES = 3  # of an input in a round

OnStep = Callable[[int, int], None]


@dataclass(frozen=True)
class Asked:
    """What a measurement found, and what it took."""

    inputs: Inputs
    achieved: Float[np.ndarray, " N"]  # expected mean returns
    deviation: Float[np.ndarray, " N"]
    spread: Float[np.ndarray, " N"]
    episodes: np.ndarray
    num_episodes: int
    num_steps: int


class _Book:
    """Returns of the episodes of each candidate input."""

    def __init__(self, requests: np.ndarray, guidance: np.ndarray, span: tuple[float, float]):
        self.requests, self.guidance = requests, guidance
        self.features = features(requests, guidance, span)
        self.returns: list[list[float]] = [[] for _ in requests]
        self.num_episodes = self.num_steps = 0

    @property
    def played(self) -> np.ndarray:
        return np.array([i for i, returns in enumerate(self.returns) if returns])

    def response(self) -> Response:
        rows = [np.array(self.returns[i]) for i in self.played]
        counts = np.array([len(row) for row in rows])
        variances = np.array([row.var(ddof=1) if len(row) > 1 else 0.0 for row in rows])
        means = np.array([row.mean() for row in rows])
        return Response.fit(self.features[self.played], means, variances, counts)


def candidates(data: DatasetSummary) -> tuple[np.ndarray, np.ndarray]:
    """List the inputs that may be played: requests over all of the data's returns, by weights."""
    ladder = np.linspace(data.percentile(0), data.percentile(100), CANDIDATES)
    requests = np.tile(ladder, len(WEIGHTS))
    guidance = np.repeat(np.array(WEIGHTS), CANDIDATES, axis=0)
    # Without any weight the request is not seen: that is one input, the unconditional policy.
    ladder = np.append(requests, data.percentile(50))
    return ladder, np.concatenate([guidance, np.zeros((1, 3))])


def measure(
    policy: ReturnConditionedPolicy,
    venue: Venue,
    budget: int,
    seed: int,
    on_step: OnStep = lambda done, steps: None,
) -> Asked:
    """Play at most `budget` episodes, and tell what each input is expected to bring.

    The episodes are those that request maps are fitted on: no evaluation plays them.

    Args:
        policy: made to guide each row by its own weights.
        on_step: called after every step with the episodes played and the steps made, all told.

    Raises:
        RolloutFault: when an environment breaks.
        ValueError: for a budget that is too small to begin with.
    """
    data, rng = policy.spec.dataset, np.random.default_rng(seed)
    requests, guidance = candidates(data)
    span = (float(requests.min()), float(requests.max()))
    book = _Book(requests, guidance, span)
    wanted = np.linspace(data.percentile(5), data.percentile(95), LADDER)
    first = _first_inputs()
    if budget < 2 * len(first):
        raise ValueError(
            f"the budget is {budget} episodes; finding out what an input brings takes at least "
            f"{2 * len(first)}"
        )
    _play_all(policy, venue, book, first, rng, on_step)
    while book.num_episodes + EPISODES * LADDER <= budget:
        mean, covariance = book.response().posterior(book.features)
        draws = rng.multivariate_normal(mean, covariance, size=LADDER, method="eigh")
        chosen = np.abs(draws - wanted[:, None]).argmin(axis=1)
        _play_all(policy, venue, book, np.repeat(chosen, EPISODES), rng, on_step)
    return _found(book)


def _first_inputs() -> np.ndarray:
    """Spread the first episodes evenly: a few requests of each weights."""
    places = np.linspace(0, CANDIDATES - 1, FIRST_REQUESTS).round().astype(int)
    each = [places + CANDIDATES * i for i in range(len(WEIGHTS))]
    return np.concatenate([*each, [CANDIDATES * len(WEIGHTS)] * FIRST_REQUESTS])


def _play_all(
    policy: ReturnConditionedPolicy,
    venue: Venue,
    book: _Book,
    rows: np.ndarray,
    rng: np.random.Generator,
    on_step: OnStep,
) -> None:
    def count(done: int, steps: int) -> None:
        on_step(book.num_episodes + done, book.num_steps + steps)

    seeds = episode_seeds(int(rng.integers(2**31)), len(rows), fitting=True)
    rollouts, _ = play(policy, book.requests[rows], seeds, venue, count, book.guidance[rows])
    for row, achieved in zip(rows, rollouts.returns, strict=True):
        book.returns[row].append(float(achieved))
    book.num_episodes += len(rows)
    book.num_steps += int(rollouts.lengths.sum())


def _found(book: _Book) -> Asked:
    rows, response = book.played, book.response()
    mean, covariance = response.posterior(book.features[rows])
    counts = np.array([len(book.returns[i]) for i in rows])
    return Asked(
        inputs=Inputs(book.requests[rows], book.guidance[rows]),
        achieved=mean,
        deviation=np.sqrt(np.maximum(np.diag(covariance), 0.0)),
        spread=np.sqrt(counts * response.noise),
        episodes=counts,
        num_episodes=book.num_episodes,
        num_steps=book.num_steps,
    )
