"""What guidance costs: floating-point operations of a step, and steps a second of 64 Hoppers.

    python benchmarks/guidance.py [--rounds 5]

The same untrained model of the preset `hopper` acts unguided and guided, in turns; ratios are
medians over the rounds of ratios within a round. Episodes are not allowed to end before their time.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import dt_envs  # noqa: F401 (threads for MuJoCo's tasks)
import jax
import numpy as np
import tyro
from flax import nnx
from gymnasium import spaces

from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.program import Start
from dt.acting.rollout import run_episodes
from dt.config.presets import PRESETS
from dt.data import EpisodeDataset, TrainingData
from dt.model.decision_transformer import DecisionTransformer
from dt.parallel.startup import use_compilation_cache
from dt.play.make import make_groups
from dt.spec.spec import PolicySpec

OBSERVATIONS, ACTIONS, LENGTH = 11, 3, 1000


@dataclass(frozen=True)
class Config:
    """Guided against unguided acting."""

    rounds: int = 5
    num_envs: int = 64
    steps: int = 200
    """Time limit of an episode."""
    json: Path | None = None
    """Write the figures there too."""


def main() -> None:
    config = tyro.cli(Config, description=__doc__)
    command = "python " + " ".join(sys.argv)
    print(command)
    use_compilation_cache()
    spec = hopper_spec()
    params = nnx.state(DecisionTransformer(spec, rngs=nnx.Rngs(0)))
    policies = {
        "unguided": ReturnConditionedPolicy(params, spec, ActingOptions(guidance=1.0)),
        "guided": ReturnConditionedPolicy(
            params, spec, ActingOptions(guidance=1.5, guidance_enough=6.0)
        ),
    }
    operations = {name: flops(policy, config.num_envs) for name, policy in policies.items()}
    ratio = operations["guided"] / operations["unguided"]
    print(f"floating-point operations of a step: x{ratio:.3f}")
    speeds: dict[str, list[float]] = {name: [] for name in policies}
    for number in range(-1, config.rounds):  # the first round compiles
        for name, policy in policies.items():
            speed = steps_a_second(policy, config)
            speeds[name] += [speed] if number >= 0 else []
    ratios = np.array(speeds["guided"]) / np.array(speeds["unguided"])
    low, high = np.quantile(ratios, [0.25, 0.75])
    for name, values in speeds.items():
        print(f"{name:<10}{np.median(values):8.0f} environment steps/s")
    print(f"guided against unguided: x{np.median(ratios):.2f} ({low:.2f} to {high:.2f})")
    if config.json is not None:
        figures = {"command": command, "flops": operations, "steps_a_second": speeds}
        config.json.write_text(json.dumps(figures, indent=1) + "\n")


def hopper_spec() -> PolicySpec:
    """The units of random data in Hopper's spaces; speed does not depend on them."""
    rng, count = np.random.default_rng(0), 4 * LENGTH
    ends = np.arange(1, count + 1) % LENGTH == 0
    dataset = EpisodeDataset(
        name="random",
        observations=rng.normal(size=(count, OBSERVATIONS)).astype(np.float32),
        actions=rng.uniform(-1, 1, (count, ACTIONS)).astype(np.float32),
        rewards=rng.uniform(0, 4, count).astype(np.float32),
        terminations=ends,
        truncations=np.zeros(count, bool),
        offsets=np.arange(0, count + 1, LENGTH),
        observation_space=spaces.Box(-np.inf, np.inf, (OBSERVATIONS,), np.float64),
        action_space=spaces.Box(-1.0, 1.0, (ACTIONS,), np.float32),
    )
    return PolicySpec.of(TrainingData.of(dataset), PRESETS["hopper"].model, LENGTH)


def flops(policy: ReturnConditionedPolicy, num_envs: int) -> float:
    """What XLA counts of the compiled step."""
    program, count = policy.program, num_envs
    observation = policy.spec.codec.encode_observation(np.zeros((count, OBSERVATIONS)))
    zeros = np.zeros(count, np.float32)
    start = Start(np.zeros(count, bool), zeros, np.zeros(count, np.uint32))
    lowered = jax.jit(program.step).lower(
        policy.params, program.initial_state(count), observation, zeros, start
    )
    cost = lowered.compile().cost_analysis()
    assert cost is not None
    return float(cost["flops"])


def steps_a_second(policy: ReturnConditionedPolicy, config: Config) -> float:
    kwargs = {"max_episode_steps": config.steps, "terminate_when_unhealthy": False}
    groups = make_groups("Hopper-v4", config.num_envs, kwargs)
    targets = np.full(4 * config.num_envs, 2000.0)
    begin = time.perf_counter()
    try:
        rollouts = run_episodes(policy, groups, targets, np.arange(len(targets)))
    finally:
        for group in groups:
            group.close()
    return float(rollouts.lengths.sum()) / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
