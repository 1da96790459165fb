"""Evaluations of a run directory: its policy is loaded, played, and if wished mapped."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dt.acting.options import AS_TRAINED, ActingOptions
from dt.acting.request_map import REQUEST_MAP, RequestMap
from dt.acting.rollout import RolloutFault
from dt.acting.targets import parse_targets
from dt.acting.video import Filmed, film
from dt.checkpoint.load import find_checkpoint, load_policy, load_spec
from dt.evaluation.card import Card
from dt.evaluation.evaluate import FindTask, episode_seeds, evaluate_policy
from dt.files import write_json
from dt.play.faults import EnvironmentFault
from dt.play.limits import cut_kwargs
from dt.play.make import Vectorization, make_envs
from dt.spaces.environments import EnvKwargs
from dt.spec.spec import PolicySpec

INCOMPLETE = "incomplete-episodes.json"  # those that had ended when an environment broke
NUM_REQUESTS = 15  # to fit a request map on, over all of the data's returns


def card_of_run(
    run_dir: Path,
    targets: list[float],
    episodes: int,
    *,
    checkpoint: str = "last",
    env_id: str = "",
    seed: int = 0,
    options: ActingOptions = AS_TRAINED,
    fitting: bool = False,
    command: str = "",
    on_device: FindTask | None = None,
    step_timeout: float = 0.0,
    vectorization: Vectorization = "auto",
    on_step: Callable[[int, int], None] = lambda done, steps: None,
) -> Card:
    """Make the score card of a checkpoint, in the environment of its data unless another is named.

    Args:
        options: how the policy acts, as in `load_policy`.
        fitting: play the episodes that request maps are fitted on.
        on_device, step_timeout, vectorization: as in `evaluate_policy`.

    Raises:
        EnvironmentFault: when an environment breaks or hangs. There is no card then: what was cut
            short are the long episodes, and a card of the others would say otherwise than is true.
            Those that had ended are kept in the run.
        ValueError: for a checkpoint or request map that is not there or not sound, and where
            neither the data nor the caller names an environment.
    """
    folder = find_checkpoint(run_dir, checkpoint)
    newest = folder == find_checkpoint(run_dir, "last")
    policy = load_policy(run_dir, int(folder.name), options=options)
    env_id, env_kwargs = environment_of(run_dir, policy.spec, env_id)
    try:
        return evaluate_policy(
            policy,
            targets,
            episodes,
            env_id=env_id,
            env_kwargs=env_kwargs,
            seed=seed,
            checkpoint_step=int(folder.name),
            selection="best" if checkpoint == "best" else "last" if newest else "chosen",
            command=command,
            fitting=fitting,
            on_device=on_device,
            step_timeout=step_timeout,
            vectorization=vectorization,
            on_step=on_step,
        )
    except RolloutFault as fault:
        origin = {"env_id": env_id, "checkpoint_step": int(folder.name), "command": command}
        write_json(run_dir / INCOMPLETE, {**origin, **fault.to_json()})
        raise EnvironmentFault(f"{fault}, kept in {run_dir / INCOMPLETE}") from fault


def film_run(
    run_dir: Path,
    targets: list[float],
    directory: Path,
    *,
    checkpoint: str = "last",
    env_id: str = "",
    seed: int = 0,
    options: ActingOptions = AS_TRAINED,
) -> Filmed:
    """Film the first episode that a card of the same seed plays at each target.

    Args:
        options: how the policy acts, as in `load_policy`.

    Raises:
        ValueError: as `card_of_run` and `film`.
    """
    step = int(find_checkpoint(run_dir, checkpoint).name)
    policy = load_policy(run_dir, step, options=options)
    env_id, env_kwargs = environment_of(run_dir, policy.spec, env_id)
    envs = make_envs(env_id, len(targets), {**env_kwargs, "render_mode": "rgb_array"})
    try:
        return film(policy, envs, targets, int(episode_seeds(seed, 1)[0]), directory)
    finally:
        envs.close()


def environment_of(run_dir: Path, spec: PolicySpec, env_id: str = "") -> tuple[str, EnvKwargs]:
    """Find the environment to play in, the data's unless another is named, and its arguments.

    Raises:
        ValueError: where nobody names one.
    """
    env_id = env_id or spec.env_id or ""
    if not env_id:
        raise ValueError(f"{run_dir}: the data names no environment; give one with --env")
    kwargs = spec.env_kwargs if env_id == spec.env_id else {}
    return env_id, cut_kwargs(env_id, kwargs, spec.max_timesteps)


def fit_request_map(
    run_dir: Path,
    episodes: int,
    *,
    checkpoint: str = "last",
    options: ActingOptions = AS_TRAINED,
    **others: Any,
) -> RequestMap:
    """Measure which request brings which return, and keep the map in the run.

    Args:
        options: how the policy acts; the map is measured without one.
        others: for `card_of_run`.
    """
    dataset = load_spec(find_checkpoint(run_dir, checkpoint)).dataset
    requests = parse_targets([f"p0:p100:{NUM_REQUESTS}"], dataset)
    card = card_of_run(
        run_dir,
        requests,
        episodes,
        checkpoint=checkpoint,
        options=dataclasses.replace(options, calibrated=False),
        fitting=True,
        **others,
    )
    request_map = request_map_of(card)
    write_json(run_dir / REQUEST_MAP, request_map.to_json())
    return request_map


def request_map_of(card: Card) -> RequestMap:
    """Fit a request map on what a card's targets brought.

    Raises:
        ValueError: as `RequestMap.fit`.
    """
    return RequestMap.fit(
        np.array([row.target for row in card.targets]),
        np.array([row.return_mean for row in card.targets]),
        checkpoint_step=card.checkpoint_step,
        options=card.acting,
        env_id=card.env_id,
        env_kwargs=card.env_kwargs,
        measured={
            "episodes": card.episodes,
            "seed": card.seed,
            "versions": card.versions,
            "command": card.command,
            "commit": card.commit,
        },
    )
