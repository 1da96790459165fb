"""Steering of a run directory: its policy is loaded, measured, and what was found is kept there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dt.acting.ask_table import ASK_TABLE, AskTable
from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.checkpoint.load import find_checkpoint, load_policy
from dt.evaluation.evaluate import Venue
from dt.evaluation.of_run import environment_of
from dt.evaluation.provenance import code_commit, code_versions
from dt.files import write_json
from dt.model.params import Params
from dt.play.make import Vectorization
from dt.steering.ask import measure


@dataclass(frozen=True)
class AskOptions:
    """What a measurement may take, and how the policy plays while it is measured."""

    budget: int = 700
    """Episodes that may be played, all told."""
    seed: int = 0
    """Decides which inputs are played, and the starts of their episodes, which no card plays."""
    env_id: str = ""
    """Environment id; empty: the one the data came from."""
    checkpoint: str = "last"
    """Which checkpoint plays: last, best or an update's number."""
    deterministic: bool = False
    """Take the likeliest action instead of sampling."""
    vectorization: Vectorization = "auto"
    """How environments are stepped, as in `make_envs`."""
    command: str = ""
    """What the table says it was made by."""


def ask_run(
    run_dir: Path,
    options: AskOptions,
    on_step: Callable[[int, int], None] = lambda done, steps: None,
) -> AskTable:
    """Measure which input brings which return, and keep the table in the run as ask.json.

    Raises:
        ValueError: for a run, checkpoint or environment that there is not, a model that cannot be
            guided, a budget that is too small, and weights that changed meanwhile.
        RolloutFault: when an environment breaks.
    """
    folder = find_checkpoint(run_dir, options.checkpoint)
    acting = ActingOptions(deterministic=options.deterministic)
    plain = load_policy(run_dir, int(folder.name), options=acting)
    acting.changed({"asked": True}).of_model(plain.spec)  # refuses what cannot be guided
    policy = ReturnConditionedPolicy(plain.params, plain.spec, acting, guides_each_row=True)
    env_id, env_kwargs = environment_of(run_dir, policy.spec, options.env_id)
    venue = Venue(env_id, env_kwargs, vectorization=options.vectorization)
    before = weights_hash(policy.params)
    found = measure(policy, venue, options.budget, options.seed, on_step)
    if weights_hash(policy.params) != before:
        raise ValueError(f"{run_dir}: the weights changed while they were measured; nothing kept")
    measured: dict[str, Any] = {
        "episodes": found.num_episodes,
        "steps": found.num_steps,
        "budget": options.budget,
        "seed": options.seed,
        "weights": before,
        "versions": code_versions(),
        "commit": code_commit(),
        "command": options.command,
    }
    table = AskTable.of(
        found.inputs,
        found.achieved,
        found.deviation,
        found.spread,
        found.episodes,
        checkpoint_step=int(folder.name),
        options=policy.options,
        env_id=env_id,
        env_kwargs=env_kwargs,
        measured=measured,
    )
    write_json(run_dir / ASK_TABLE, table.to_json())
    return table


def weights_hash(params: Params) -> str:
    """Hash all numbers of a model, in their order: the same weights have the same hash."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        array = np.asarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
