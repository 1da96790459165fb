"""Evaluations of a run directory: its policy is loaded, played, and if wished mapped."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dt.acting.options import AS_TRAINED, ActingOptions
from dt.acting.request_map import REQUEST_MAP, RequestMap
from dt.acting.rollout import RolloutFault
from dt.acting.targets import parse_targets
from dt.acting.video import Filmed, film
from dt.checkpoint.load import find_checkpoint, load_policy, load_spec
from dt.evaluation.card import Card
from dt.evaluation.evaluate import FindTask, episode_seeds, evaluate_policy, targets_for
from dt.evaluation.question import Question
from dt.files import write_json
from dt.play.faults import EnvironmentFault, closing
from dt.play.limits import cut_kwargs
from dt.play.make import Vectorization, make_envs
from dt.spaces.environments import EnvKwargs, refuse_untrusted
from dt.spec.spec import PolicySpec

INCOMPLETE = "incomplete-episodes.json"  # those that had ended when an environment broke
NUM_REQUESTS = 15  # to fit a request map on, over all of the data's returns


@dataclass(frozen=True)
class Playing:
    """Which policy of a run plays, where, from which seeds, and how."""

    checkpoint: str = "last"
    """last, best or an update's number."""
    env_id: str = ""
    """Environment id; empty: the one the data came from."""
    seed: int = 0
    """Decides the starts of all episodes."""
    options: ActingOptions = AS_TRAINED
    """How the policy acts, as in `load_policy`."""
    on_device: FindTask | None = None
    """Finds the environment's functional form, to play on the device; None: on the host."""
    step_timeout: float = 0.0
    """Seconds that a step of all environments may take; 0: as long as it likes."""
    vectorization: Vectorization = "auto"
    """How environments are stepped, as in `make_envs`."""
    command: str = ""
    """What the card says it was made by."""

    def question(
        self, targets: Sequence[str], episodes: int, spec: PolicySpec, ood: float = 0.0
    ) -> Question:
        """Put together what is asked of a run, whose card is named by it.

        Args:
            targets: words, as of `parse_targets`.
            spec: of the run.
            ood: reach of targets beyond the data.
        """
        return Question(
            targets=tuple(targets),
            episodes=episodes,
            seed=self.seed,
            checkpoint=self.checkpoint,
            options=self.options,
            env_id="" if self.env_id == spec.env_id else self.env_id,
            ood=ood,
            on_device=self.on_device is not None,
        )


PLAIN = Playing()


def card_of_run(
    run_dir: Path,
    targets: list[float],
    episodes: int,
    playing: Playing = PLAIN,
    *,
    fitting: bool = False,
    on_step: Callable[[int, int], None] = lambda done, steps: None,
) -> Card:
    """Make the score card of a checkpoint, in the environment of its data unless another is named.

    Args:
        fitting: play the episodes that request maps are fitted on.
        on_step: called after every step with the episodes that have ended and the steps made.

    Raises:
        EnvironmentFault: when an environment breaks or hangs. There is no card then: what was cut
            short are the long episodes, and a card of the others would say otherwise than is true.
            Those that had ended are kept in the run.
        ValueError: for a checkpoint or request map that is not there or not sound, and where
            neither the data nor the caller names an environment.
    """
    folder = find_checkpoint(run_dir, playing.checkpoint)
    newest = folder == find_checkpoint(run_dir, "last")
    chosen = "best" if playing.checkpoint == "best" else "last" if newest else "chosen"
    policy = load_policy(run_dir, int(folder.name), options=playing.options)
    env_id, env_kwargs = environment_of(run_dir, policy.spec, playing.env_id)
    try:
        return evaluate_policy(
            policy,
            targets,
            episodes,
            env_id=env_id,
            env_kwargs=env_kwargs,
            seed=playing.seed,
            checkpoint_step=int(folder.name),
            selection=chosen,
            command=playing.command,
            fitting=fitting,
            on_device=playing.on_device,
            step_timeout=playing.step_timeout,
            vectorization=playing.vectorization,
            on_step=on_step,
        )
    except RolloutFault as fault:
        step, command = int(folder.name), playing.command
        origin = {"env_id": env_id, "checkpoint_step": step, "command": command}
        write_json(run_dir / INCOMPLETE, {**origin, **fault.to_json()})
        raise EnvironmentFault(f"{fault}, kept in {run_dir / INCOMPLETE}") from fault


def film_run(
    run_dir: Path, targets: list[float], directory: Path, playing: Playing = PLAIN
) -> Filmed:
    """Film the first episode that a card of the same seed plays at each target.

    Raises:
        ValueError: as `card_of_run` and `film`.
    """
    step = int(find_checkpoint(run_dir, playing.checkpoint).name)
    policy = load_policy(run_dir, step, options=playing.options)
    env_id, env_kwargs = environment_of(run_dir, policy.spec, playing.env_id)
    targets = targets_for(policy.spec, targets)
    envs = make_envs(env_id, len(targets), {**env_kwargs, "render_mode": "rgb_array"})
    with closing(envs):
        return film(policy, envs, targets, int(episode_seeds(playing.seed, 1)[0]), directory)


def environment_of(run_dir: Path, spec: PolicySpec, env_id: str = "") -> tuple[str, EnvKwargs]:
    """Find the environment to play in, the data's unless another is named, and its arguments.

    A run may be anybody's: what it says of an environment runs no code that is not installed.

    Args:
        env_id: the one that the user names, which may have a module.

    Raises:
        ValueError: where nobody names one, and where the run's would run code or read files.
    """
    named, env_id = env_id, env_id or spec.env_id or ""
    if not env_id:
        raise ValueError(f"{run_dir}: the data names no environment; give one with --env")
    kwargs = spec.env_kwargs if env_id == spec.env_id else {}
    refuse_untrusted(str(run_dir), env_id, kwargs, named, "--env")
    return env_id, cut_kwargs(env_id, kwargs, spec.max_timesteps)


def fit_request_map(
    run_dir: Path,
    episodes: int,
    playing: Playing = PLAIN,
    on_step: Callable[[int, int], None] = lambda done, steps: None,
) -> RequestMap:
    """Measure which request brings which return, and keep the map in the run.

    The map is measured without one, whatever the options say of it.

    Raises:
        ValueError: for a model that takes no return, and as `card_of_run` and `RequestMap.fit`.
    """
    spec = load_spec(find_checkpoint(run_dir, playing.checkpoint))
    if not spec.conditional:
        raise ValueError(
            f"{run_dir}: layout {spec.model.layout} takes no return, so no request brings another; "
            f"leave --fit-request-map out"
        )
    requests = parse_targets([f"p0:p100:{NUM_REQUESTS}"], spec.dataset)
    unmapped = dataclasses.replace(playing.options, calibrated=False)
    playing = dataclasses.replace(playing, options=unmapped)
    card = card_of_run(run_dir, requests, episodes, playing, fitting=True, on_step=on_step)
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
