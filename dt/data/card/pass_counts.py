"""Count what a data card says of the episodes, in one pass over them."""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple, TypedDict

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Float, Int

from dt.data.card.columns import ColumnCounts, ColumnFacts, box_bounds
from dt.data.episodes import Episode, EpisodeDataset
from dt.data.store.rows import MOST_VALUES
from dt.data.streams import EpisodeSource, pieces
from dt.spaces.parts import leaves

LIMIT_SHARE = 0.05  # when more of the episodes have the longest length, it was a time limit


class EpisodeTable(NamedTuple):
    """What the card keeps of each episode, in the data's order."""

    returns: Float[np.ndarray, " E"]  # NaN or infinite where a reward is
    lengths: Int[np.ndarray, " E"]


class RewardFacts(ColumnFacts):
    """What a card says of rewards."""

    largest: float  # by its size
    largest_at: list[int]  # episode and step
    zero_share: float
    only_at_the_end: bool


class EndingFacts(TypedDict):
    """How episodes end, as shares of all; `limit` is the steps after which they are cut."""

    terminated: float
    truncated: float
    both: float
    neither: float
    limit: int | None
    limit_from: str | None
    at_limit: float | None
    cut_at_limit: float | None
    beyond_limit: int
    inside_episodes: int
    one_step_in_clusters: int


class DiscreteFacts(TypedDict):
    """How often each action of a Discrete space was taken."""

    kind: Literal["discrete"]
    shares: list[float]
    never_used: list[int]
    unknown: int


class ContinuousFacts(TypedDict):
    """How often action numbers lie at their bounds or beyond."""

    kind: Literal["continuous", "several"]
    unknown: int
    saturation: list[float] | None
    saturation_share: float | None
    outside: int


class PassCounts:
    """The running numbers of one pass over a source: a few a column, and four an episode."""

    def __init__(self, source: EpisodeSource):
        space = source.action_space
        self.action_space = space
        self.observations = ColumnCounts(leaves(source.observation_space))
        self.actions = ColumnCounts(leaves(space, images=False), box_bounds(space))
        self.rewards = ColumnCounts()
        num_actions = int(space.n) if isinstance(space, spaces.Discrete) else 0
        if num_actions > MOST_VALUES:
            raise ValueError(
                f"{source.name}: actions are of {space}, more than can be told apart; check "
                f"whether they are numbers of another kind"
            )
        self.action_counts = np.zeros(num_actions, np.int64)
        self.unknown_actions = 0
        self.lengths: list[np.ndarray] = []
        self.returns: list[np.ndarray] = []
        self.hashes: list[np.ndarray] = []
        self.terminated: list[np.ndarray] = []
        self.truncated: list[np.ndarray] = []
        self.largest = (0, 0.0)  # the row of the reward of the largest size, and the reward
        self.early_rewards = 0  # rewards other than 0 before an episode's last step
        self.zero_rewards = 0
        self.ends_inside = 0  # terminations and truncations before an episode's last step
        self.bad_finals: list[int] = []  # episodes whose observation after the end is not finite
        for piece in pieces(source):
            self._add(piece)

    def _add(self, piece: EpisodeDataset) -> None:
        rewards, last = piece.rewards, piece.offsets[1:] - 1
        self.observations.add(piece.observations)
        self.actions.add(piece.actions)
        self.rewards.add(rewards)
        if isinstance(self.action_space, spaces.Discrete):
            index = piece.actions - self.action_space.start
            known = (index >= 0) & (index < self.action_space.n)
            self.unknown_actions += int((~known).sum())
            self.action_counts += np.bincount(index[known], minlength=len(self.action_counts))
        else:
            self.unknown_actions += _num_unknown(piece.actions, self.action_space)
        self.lengths.append(piece.lengths)
        with np.errstate(invalid="ignore", over="ignore"):
            self.returns.append(piece.returns)
        self.hashes.append(np.array([_hash(episode) for episode in piece], np.uint64))
        finals = piece.final_observations
        if finals is not None:
            finite = np.ones(len(piece), bool)
            for leaf in leaves(piece.observation_space):
                values = leaf.of(finals)
                if np.issubdtype(values.dtype, np.floating):
                    finite &= np.isfinite(values.reshape(len(piece), -1)).all(axis=1)
            self.bad_finals += (piece.first_episode + np.flatnonzero(~finite)).tolist()
        terminations, truncations = piece.terminations.astype(bool), piece.truncations.astype(bool)
        self.terminated.append(terminations[last])
        self.truncated.append(truncations[last])
        self.zero_rewards += int((rewards == 0).sum())
        row = int(np.argmax(np.abs(np.where(np.isfinite(rewards), rewards, 0.0))))
        if abs(float(rewards[row])) > abs(self.largest[1]):
            self.largest = (self.rewards.rows - len(rewards) + row, float(rewards[row]))
        self.early_rewards += int((rewards != 0).sum() - (rewards[last] != 0).sum())
        ends = terminations | truncations
        self.ends_inside += int(ends.sum() - ends[last].sum())

    def table(self) -> EpisodeTable:
        """Join what is kept of each episode."""
        return EpisodeTable(np.concatenate(self.returns), np.concatenate(self.lengths))

    def locate(self, row: int) -> tuple[int, int]:
        """Find the (episode, step) of a row counted from the first of the data set."""
        ends = np.cumsum(np.concatenate(self.lengths))
        episode = int(np.searchsorted(ends, row, side="right"))
        return episode, int(row - (ends[episode - 1] if episode else 0))

    def duplicates(self) -> int:
        """Count the episodes that are exact copies of others."""
        hashes = np.concatenate(self.hashes)
        return len(hashes) - len(np.unique(hashes))

    def reward_facts(self) -> RewardFacts:
        """Sum up the rewards."""
        steps, episodes = self.rewards.rows, sum(map(len, self.lengths))
        facts = self.rewards.facts(self.locate)
        low, high = facts["low"] or 0.0, facts["high"] or 0.0
        return {
            **facts,
            # However small rewards are, returns are scaled by themselves: see `Normalizer`.
            "constant_columns": int(high - low <= 1e-6 * max(abs(low), abs(high))),
            "largest": self.largest[1],
            "largest_at": list(self.locate(self.largest[0])),
            "zero_share": self.zero_rewards / steps,
            "only_at_the_end": steps > episodes
            and self.early_rewards == 0
            and self.zero_rewards < steps,
        }

    def ending_facts(self, max_episode_steps: int | None) -> EndingFacts:
        """Sum up how episodes end; the limit is the environment's, if it has one."""
        lengths = np.concatenate(self.lengths)
        terminated, truncated = np.concatenate(self.terminated), np.concatenate(self.truncated)
        longest = int(lengths.max())
        limit, limit_from = max_episode_steps, "environment"
        if limit is None and (lengths == longest).mean() > LIMIT_SHARE:
            limit, limit_from = longest, "longest episodes"
        return {
            "terminated": float((terminated & ~truncated).mean()),
            "truncated": float((truncated & ~terminated).mean()),
            "both": float((terminated & truncated).mean()),
            "neither": float((~terminated & ~truncated).mean()),
            "limit": limit,
            "limit_from": limit_from if limit else None,
            "at_limit": float((lengths == limit).mean()) if limit else None,
            "cut_at_limit": float(((lengths == limit) & ~terminated).mean()) if limit else None,
            "beyond_limit": int((lengths > limit).sum()) if limit else 0,
            "inside_episodes": self.ends_inside,
            "one_step_in_clusters": _in_clusters(lengths, terminated),
        }

    def action_facts(self) -> DiscreteFacts | ContinuousFacts:
        """Sum up the actions, by the kind of their space."""
        if isinstance(self.action_space, spaces.Discrete):
            start = int(self.action_space.start)
            return {
                "kind": "discrete",
                "shares": (self.action_counts / max(int(self.action_counts.sum()), 1)).tolist(),
                "never_used": (np.flatnonzero(self.action_counts == 0) + start).tolist(),
                "unknown": self.unknown_actions,
            }
        saturation = self.actions.saturation()
        continuous = isinstance(self.action_space, spaces.Box)
        return {
            "kind": "continuous" if continuous else "several",
            "unknown": self.unknown_actions,
            "saturation": saturation,
            "saturation_share": float(np.mean(saturation)) if saturation is not None else None,
            "outside": int(self.actions.outside.sum()),
        }


def _in_clusters(lengths: np.ndarray, terminated: np.ndarray) -> int:
    """Count the episodes of one step that end as the one before them did: at a terminal."""
    return int(((lengths[1:] == 1) & terminated[1:] & terminated[:-1]).sum())


def _num_unknown(actions: np.ndarray, space: gymnasium.Space) -> int:
    """Count the categories of these actions with a value that they do not have."""
    count = 0
    for leaf in leaves(space, images=False):
        if leaf.kind == "categories":
            index = leaf.of(actions).reshape(len(actions), leaf.size) - leaf.starts
            count += int(((index < 0) | (index >= leaf.counts)).sum())
    return count


def _hash(episode: Episode) -> int:
    """Hash an episode's bytes; 64 bits tell a million episodes apart."""
    digest = hashlib.blake2b(digest_size=8)
    for values in (episode.observations[: len(episode)], episode.actions, episode.rewards):
        digest.update(np.ascontiguousarray(values).data)
    return int.from_bytes(digest.digest(), "little")
