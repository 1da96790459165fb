"""Are episodes counted exactly, and does each depend on its own target and seed alone?"""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium
import numpy as np
import pytest
from flax import nnx
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from walk import Walk, make_policy

from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.rollout import Rollouts, run_episodes
from dt.evaluation.evaluate import episode_seeds, evaluate_policy
from dt.model.decision_transformer import DecisionTransformer
from dt.play.make import make_envs


def play(*sizes: int, num_episodes: int = 7) -> Rollouts:
    disabled = AutoresetMode.DISABLED
    envs = [SyncVectorEnv([Walk] * num_envs, autoreset_mode=disabled) for num_envs in sizes]
    targets = np.linspace(1.0, 9.0, num_episodes)
    return run_episodes(make_policy(), envs, targets, np.arange(num_episodes) * 11)


@pytest.mark.slow
def test_an_episode_depends_on_its_target_and_seed_alone() -> None:
    """Not on the row it runs in, nor on who else ends meanwhile, nor on batches and their size."""
    alone = play(1)
    for sizes in ((3,), (7,), (10,), (2, 2), (4, 1, 2)):
        together = play(*sizes)
        np.testing.assert_array_equal(together.lengths, alone.lengths)
        np.testing.assert_allclose(together.returns, alone.returns, rtol=1e-4)


def test_every_episode_is_played_once_and_whole() -> None:
    rollouts = play(3)
    for length, seed in zip(rollouts.lengths, np.arange(7) * 11, strict=True):
        env = Walk()
        env.reset(seed=int(seed))
        assert length == env.left
    assert (rollouts.returns != 0).all()


def test_progress_counts_episodes_and_their_steps() -> None:
    seen: list[tuple[int, int]] = []
    envs = SyncVectorEnv([Walk] * 10, autoreset_mode=AutoresetMode.DISABLED)
    rollouts = run_episodes(
        make_policy(),
        envs,
        np.ones(4),
        np.arange(4),
        lambda done, steps: seen.append((done, steps)),
    )
    assert seen[-1] == (4, rollouts.lengths.sum())
    assert seen == sorted(seen)


def test_environments_are_made_with_their_time_limit() -> None:
    envs = make_envs("CartPole-v1", 2, {"max_episode_steps": 3})
    envs.reset(seed=0)
    ends = [envs.step(np.array([t % 2, t % 2]))[3].all() for t in range(3)]
    envs.close()
    assert ends == [False, False, True]


def test_other_spaces_and_unknown_environments_are_named() -> None:
    envs = make_envs("CartPole-v1", 1)
    with pytest.raises(ValueError, match="observation space.*trained on"):
        run_episodes(make_policy(), envs, np.ones(1), np.arange(1))
    envs.close()
    with pytest.raises(ValueError, match="cannot make environment 'Nowhere-v0'"):
        make_envs("Nowhere-v0", 1)
    with pytest.raises(
        ValueError, match="No module named 'nowhere'; install it, or put the folder"
    ):
        make_envs("nowhere:Nowhere-v0", 1)


@pytest.mark.slow
def test_an_evaluation_longer_than_any_episode_seen_is_a_line_or_goes_on_at_the_last_position() -> (
    None
):
    gymnasium.register("LongWalk-v0", Walk)
    usual = make_policy()
    spec = dataclasses.replace(usual.spec, max_timesteps=6)
    params = nnx.state(DecisionTransformer(spec, rngs=nnx.Rngs(0)))
    venue: dict[str, Any] = {"env_id": "LongWalk-v0", "env_kwargs": {}, "seed": 0}
    with pytest.raises(ValueError, match="timestep 6 is past the longest.*--past-end clamp") as one:
        evaluate_policy(ReturnConditionedPolicy(params, spec), [5.0], 6, checkpoint_step=1, **venue)
    assert "\n" not in str(one.value)
    clamped = ReturnConditionedPolicy(params, spec, ActingOptions(past_end="clamp"))
    card = evaluate_policy(clamped, [5.0], 6, checkpoint_step=1, **venue)
    lengths = []
    for seed in episode_seeds(0, 6).tolist():
        env = Walk()
        env.reset(seed=seed)
        lengths.append(env.left)
    (row,) = card.targets
    assert max(lengths) > 6 and row.length_mean == np.mean(lengths)
    assert card.to_json()["past_end"] == "clamp"
