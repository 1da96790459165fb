"""Environment steps a second that a policy plays, against others' policies.

    python benchmarks/rollout.py                        all parts
    python benchmarks/rollout.py --part hopper          64 Hopper environments, 200 steps of each
    python benchmarks/rollout.py --part cartpole --run runs/cartpole
                                                        on the device against the host, 512 rows
    python benchmarks/rollout.py --part card --run runs/cartpole
                                                        7 targets x 100 episodes, in seconds

Everybody plays once a round, one after the other, so that whatever else the machine does meets all;
ratios are medians over the rounds of ratios within a round. Hugging Face's model plays where torch
and transformers are installed (the extra `interop`): one environment at a time, as its own example
does. Its weights and ours are random but for --run: speed does not depend on them, only the
length of episodes does, which Hopper's are therefore not allowed to end before their time.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import dt_envs as our_envs  # noqa: F401 (threads for MuJoCo's tasks)
import gymnasium
import numpy as np
import tyro
from dt_envs.mujoco_threads import unwarned
from flax import nnx
from gymnasium.vector import AutoresetMode, VectorEnv

from dt import load_policy
from dt.acting.on_device import device_player
from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.rollout import Rollouts, run_episodes
from dt.acting.targets import parse_targets
from dt.config import ModelConfig, TrainConfig
from dt.config.presets import PRESETS, with_recipe
from dt.data import EpisodeDataset, TrainingData
from dt.evaluation.evaluate import episode_seeds, num_rows
from dt.model.decision_transformer import DecisionTransformer
from dt.parallel.startup import use_compilation_cache, use_cpu_cores
from dt.play.make import make_envs, make_groups
from dt.spec.spec import PolicySpec

HOPPER, CARTPOLE = "Hopper-v4", "CartPole-v1"
TARGET = 150.0  # asked for in CartPole

Play = Callable[[], int]  # plays, and says how many steps


@dataclass(frozen=True)
class Config:
    """Rollouts against each other."""

    part: Literal["all", "hopper", "cartpole", "card"] = "all"
    rounds: int = 5
    run: Path | None = None
    """A trained CartPole run; without one the default preset's model plays untrained."""
    hopper_envs: int = 64
    steps: int = 200
    """Of every Hopper environment in a round."""
    cartpole_envs: int = 512
    hf_episodes: int = 2
    """Episodes that Hugging Face's model plays in a round."""
    card_episodes: int = 100
    """For each of the 7 targets of a card."""


def main() -> None:
    config = tyro.cli(Config, description=__doc__)
    warnings.filterwarnings("ignore", message=".*is out of date.*")
    use_compilation_cache()
    use_cpu_cores()  # the device's lanes; policies on the host act on the first as fast as on one
    if config.part in ("all", "hopper"):
        print(f"{config.hopper_envs} {HOPPER}, {config.steps} steps each, {config.rounds} rounds")
        hopper(config)
    what = f"the model of {config.run}" if config.run else "the default preset's, untrained"
    if config.part in ("all", "cartpole"):
        print(f"{config.cartpole_envs} {CARTPOLE}, {what}, {config.rounds} rounds")
        cartpole(config)
    if config.part in ("all", "card"):
        print(f"7 targets x {config.card_episodes} {CARTPOLE}, {what}, {config.rounds} rounds")
        card(config)


def hopper(config: Config) -> None:
    kwargs: dict[str, Any] = {"terminate_when_unhealthy": False, "max_episode_steps": config.steps}
    with unwarned():
        sync = gymnasium.make_vec(
            HOPPER,
            config.hopper_envs,
            "sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.DISABLED},
            **kwargs,
        )
        turns = make_groups(HOPPER, config.hopper_envs, kwargs, "sync")
        threads = make_envs(HOPPER, config.hopper_envs, kwargs)
        single = gymnasium.make(HOPPER, **kwargs)
    cached = untrained(sync, PRESETS["hopper"].model)
    window = untrained(sync, with_recipe(TrainConfig(), "chen2021").model)
    players: dict[str, Play] = {
        "random actions, sync": lambda: play_random(sync, config.steps),
        "random actions, threads": lambda: play_random(threads, config.steps),
        "ring cache, sync": lambda: play_policy(cached, turns),
        "ring cache, sync, no turns": lambda: play_policy(cached, [sync]),
        "ring cache, threads": lambda: play_policy(cached, [threads]),
        "window recomputed, sync": lambda: play_policy(window, turns),
        "window recomputed, threads": lambda: play_policy(window, [threads]),
    }
    base = ["random actions, sync"]
    if find_spec("torch") and find_spec("transformers"):
        players["Hugging Face, plain loop"] = hugging_face(single, config.hf_episodes)
        base.append("Hugging Face, plain loop")
    else:
        print("torch and transformers are not installed: nothing of Hugging Face's")
    report(alternate(players, config.rounds), base)
    for each in (sync, *turns, threads, single):
        each.close()


def cartpole(config: Config) -> None:
    from dt_envs.functional import functional_task  # starts JAX, so not before its settings

    num_envs = config.cartpole_envs
    limit = PRESETS["cartpole"].evaluation.env_kwargs
    host = make_groups(CARTPOLE, num_envs, limit)
    policy = cartpole_policy(config, host[0])
    targets, seeds = np.full(2 * num_envs, TARGET), np.arange(2 * num_envs)
    on_device = device_player(policy, functional_task(CARTPOLE, limit), num_envs)
    players: dict[str, Play] = {
        "host, sync": lambda: int(run_episodes(policy, host, targets, seeds).lengths.sum()),
        "on the device": lambda: int(on_device(targets, seeds).lengths.sum()),
    }
    report(alternate(players, config.rounds), ["host, sync"])
    for envs in host:
        envs.close()


def cartpole_policy(config: Config, envs: VectorEnv) -> ReturnConditionedPolicy:
    return load_policy(config.run) if config.run else untrained(envs, PRESETS["cartpole"].model)


def card(config: Config) -> None:
    """The episodes of a score card, after compilation."""
    from dt_envs.functional import functional_task

    limit, count = PRESETS["cartpole"].evaluation.env_kwargs, 7 * config.card_episodes
    one = make_envs(CARTPOLE, 1, limit)
    policy = cartpole_policy(config, one)
    one.close()
    num_envs = num_rows(policy, count)
    host = make_groups(CARTPOLE, num_envs, limit)
    asked = parse_targets(["p5:p95:7"], policy.spec.dataset)
    targets = np.repeat(asked, config.card_episodes)
    seeds = np.tile(episode_seeds(0, config.card_episodes), 7)
    on_device = device_player(policy, functional_task(CARTPOLE, limit), num_envs)
    steps: dict[str, int] = {}

    def timed(name: str, play: Callable[[], Rollouts]) -> Play:
        def play_once() -> int:
            steps[name] = int(play().lengths.sum())
            return 1

        return play_once

    players = {
        "host, sync": timed("host, sync", lambda: run_episodes(policy, host, targets, seeds)),
        "on the device": timed("on the device", lambda: on_device(targets, seeds)),
    }
    for name, rates in alternate(players, config.rounds).items():
        seconds = 1 / rates
        print(
            f"  {name:28}{np.median(seconds):8.2f} s a card ({seconds.min():.2f} to "
            f"{seconds.max():.2f}), {steps[name]} steps",
            flush=True,
        )
    for envs in host:
        envs.close()


def alternate(players: dict[str, Play], rounds: int) -> dict[str, np.ndarray]:
    """Steps a second of each player in each round, after a round that compiles."""
    speeds: dict[str, list[float]] = {name: [] for name in players}
    for number in range(rounds + 1):
        for name, play in players.items():
            begin = time.perf_counter()
            steps = play()
            if number:
                speeds[name].append(steps / (time.perf_counter() - begin))
    return {name: np.array(values) for name, values in speeds.items()}


def report(speeds: dict[str, np.ndarray], base: list[str]) -> None:
    for name, values in speeds.items():
        line = f"  {name:28}{np.median(values):10.0f} steps/s"
        for other in base:
            if name != other:
                ratios = values / speeds[other]
                line += f"   {np.median(ratios):6.2f} x {other} ({ratios.min():.2f} to "
                line += f"{ratios.max():.2f})"
        print(line, flush=True)


def untrained(envs: VectorEnv, model: ModelConfig) -> ReturnConditionedPolicy:
    """A policy with random weights, in the units of random data."""
    rng, count = np.random.default_rng(0), 40
    observation_space, action_space = envs.single_observation_space, envs.single_action_space
    ends = np.arange(count) % 20 == 19
    dataset = EpisodeDataset(
        name="random",
        observations=rng.normal(size=(count, *(observation_space.shape or ()))).astype(np.float32),
        actions=np.stack([action_space.sample() for _ in range(count)]),
        rewards=np.ones(count, np.float32),
        terminations=ends,
        truncations=np.zeros(count, bool),
        offsets=np.array([0, 20, 40]),
        observation_space=observation_space,
        action_space=action_space,
    )
    spec = PolicySpec.of(TrainingData.of(dataset), model, max_episode_steps=1000)
    return ReturnConditionedPolicy(nnx.state(DecisionTransformer(spec, rngs=nnx.Rngs(0))), spec)


def play_policy(policy: ReturnConditionedPolicy, envs: list[VectorEnv]) -> int:
    seeds = np.arange(sum(each.num_envs for each in envs))
    return int(run_episodes(policy, envs, np.full(len(seeds), 20.0), seeds).lengths.sum())


def play_random(envs: VectorEnv, steps: int) -> int:
    """The environments alone."""
    envs.action_space.seed(0)
    actions = [envs.action_space.sample() for _ in range(steps)]
    everyone = np.ones(envs.num_envs, bool)
    envs.reset(seed=0, options={"reset_mask": everyone})
    for action in actions:
        envs.step(action)
    return steps * envs.num_envs


def hugging_face(env: gymnasium.Env, episodes: int) -> Play:
    """DecisionTransformerModel of our size in the loop of Hugging Face's own example.

    States, actions, returns and timesteps grow by a row a step; the last 20 of each, padded on the
    left, are what every action is computed from.
    """
    import torch
    from transformers import DecisionTransformerConfig, DecisionTransformerModel, logging

    logging.set_verbosity_error()
    size = PRESETS["hopper"].model
    assert env.observation_space.shape and env.action_space.shape
    state_dim, act_dim = env.observation_space.shape[0], env.action_space.shape[0]
    model: Any = DecisionTransformerModel(
        DecisionTransformerConfig(
            state_dim=state_dim,
            act_dim=act_dim,
            hidden_size=size.width,
            n_layer=size.num_layers,
            n_head=size.num_heads,
            max_length=size.context_length,
            max_ep_len=1000,
        )
    ).eval()
    length = size.context_length

    def padded(rows: Any) -> Any:
        """The last rows behind zeros, as a batch of one."""
        rows = rows[-length:]
        missing = torch.zeros((length - len(rows), *rows.shape[1:]), dtype=rows.dtype)
        return torch.cat([missing, rows])[None]

    def get_action(states: Any, actions: Any, returns: Any, timesteps: Any) -> Any:
        mask = padded(torch.ones(len(states), dtype=torch.long))
        _, predicted, _ = model(
            states=padded(states),
            actions=padded(actions),
            rewards=None,
            returns_to_go=padded(returns),
            timesteps=padded(timesteps),
            attention_mask=mask,
            return_dict=False,
        )
        return predicted[0, -1]

    def play() -> int:
        count = 0
        for episode in range(episodes):
            observation, _ = env.reset(seed=episode)
            states = torch.from_numpy(observation).float()[None]
            actions = torch.zeros((0, act_dim))
            returns = torch.full((1, 1), 20.0)
            timesteps = torch.zeros(1, dtype=torch.long)
            over = False
            while not over:
                actions = torch.cat([actions, torch.zeros((1, act_dim))])
                with torch.no_grad():
                    action = get_action(states, actions, returns, timesteps)
                actions[-1] = action
                observation, reward, terminated, truncated, _ = env.step(action.numpy())
                states = torch.cat([states, torch.from_numpy(observation).float()[None]])
                returns = torch.cat([returns, returns[-1:] - float(reward) / 1000.0])
                timesteps = torch.cat([timesteps, timesteps[-1:] + 1])
                over = terminated or truncated
                count += 1
        return count

    return play


if __name__ == "__main__":
    main()
