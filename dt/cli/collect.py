"""The command line of `collect.py`: play behavior policies, and keep their episodes."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import tyro

from dt.cli.args import parse_args
from dt.cli.exit_code import exit_code

if TYPE_CHECKING:
    from rich.console import Console

    from dt.collect.behaviors.sources import Player
    from dt.collect.publish import Outcome

    Players: TypeAlias = Mapping[str, Player]


@dataclass(frozen=True)
class CollectConfig:
    """Play episodes and keep them as a local Minari data set (below MINARI_DATASETS_PATH).

    An interrupted collection loses no finished episode: the same command goes on with it.
    """

    env_id: Annotated[str, tyro.conf.Positional]
    """Any Gymnasium id; module:Name-v0 imports the module first."""
    out: str
    """Id of the new data set, such as cartpole/mixed-v0."""
    policy: Annotated[list[str], tyro.conf.UseAppendAction] = field(default_factory=list)
    """Who plays: random, scripted:NAME, npz:FILE, sb3:FILE.zip, run:RUN_DIR@TARGET, or MODULE:NAME,
    a function act(observations, rngs) of your own, which gives the actions of all rows and draws
    from the row's generator. Several make a mixture, one policy's episodes after the other's."""
    weights: list[float] = field(default_factory=list)
    """Shares of the policies in the episodes, in their order; by default all alike."""
    episodes: int = 100
    """Episodes of all policies together."""
    noise: float = 0.0
    """Noise in the actions. Discrete ones: the chance of a uniformly random one instead. Numbers:
    the standard deviation of a Gaussian that is added, in halves of each number's range; then
    clipped."""
    deterministic: bool = False
    """Take the mean or likeliest action instead of a sample; MODULE:NAME does as it likes."""
    past_end: Literal["error", "clamp"] = "error"
    """What run: does past the longest timestep that its model knows: an error, or (clamp) it goes
    on and its position stays the last one, which it has never seen."""
    max_episode_steps: int = 0
    """Time limit of an episode, in steps; 0: the environment's own."""
    env_kwargs: str = "{}"
    """Further arguments of the environment, as JSON."""
    num_envs: int = 16
    """Environments played at once. Episodes do not depend on it, but for run: by rounding."""
    seed: int = 0
    """Seed that decides every episode, together with the episode's number."""

    def __post_init__(self) -> None:
        for name in ("episodes", "num_envs"):
            if getattr(self, name) < 1:
                flag = name.replace("_", "-")
                raise ValueError(f"--{flag} is {getattr(self, name)}; it must be at least 1")
        if not self.policy:
            raise ValueError("--policy is missing; random is one")
        if self.weights and len(self.weights) != len(self.policy):
            raise ValueError(
                f"--weights has {len(self.weights)} numbers for {len(self.policy)} policies"
            )
        if not 0 <= self.noise < float("inf"):
            raise ValueError(f"--noise is {self.noise}; it must be at least 0")
        if self.past_end != "error" and not any(word.startswith("run:") for word in self.policy):
            raise ValueError(f"--past-end {self.past_end} is of --policy run: alone; leave it out")
        if self.max_episode_steps < 0:
            raise ValueError(f"--max-episode-steps is {self.max_episode_steps}; give 1 or more")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed is {self.seed}; it must be from 0 to 2^32 - 1")

    @property
    def all_env_kwargs(self) -> dict[str, Any]:
        try:
            kwargs = json.loads(self.env_kwargs)
        except ValueError as error:
            raise ValueError(f"--env-kwargs {self.env_kwargs}: no JSON ({error})") from error
        if not isinstance(kwargs, dict):
            raise ValueError(f"--env-kwargs {self.env_kwargs}: give an object, {{...}}")
        limit = {"max_episode_steps": self.max_episode_steps} if self.max_episode_steps else {}
        return {**kwargs, **limit}


def main(args: list[str], load_players: Callable[[], Players], prog: str = "collect.py") -> int:
    """Collect a data set.

    Args:
        args: the words after the program's name.
        load_players: registers environments, and gives the scripted players by name.
        prog: what the user typed, for messages.

    Returns:
        The exit code: 2 for what cannot be done, 130 where it was stopped.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return exit_code(prog, lambda: _collect(parse_args(CollectConfig, args, prog), load_players))


def _collect(config: CollectConfig, load_players: Callable[[], Players]) -> int:
    # Imported here so that --help and mistyped flags answer at once.
    from rich.console import Console

    from dt.cli.progress import episode_progress
    from dt.collect.behaviors.acting import with_noise
    from dt.collect.behaviors.sources import load_behavior
    from dt.collect.gather import check_spaces, play_plan
    from dt.collect.plan import Plan, new_dataset_folder, open_collection, share_out
    from dt.collect.publish import publish
    from dt.play.faults import closing
    from dt.play.make import make_envs

    players = load_players()
    console = Console(highlight=False)
    target = new_dataset_folder(config.out)
    shares = share_out(config.episodes, config.weights or [1.0] * len(config.policy))
    num_envs = min(config.num_envs, max(shares))
    envs = make_envs(config.env_id, num_envs, config.all_env_kwargs)
    check_spaces(envs)
    spaces = envs.single_observation_space, envs.single_action_space
    behaviors = [
        load_behavior(
            word,
            *spaces,
            deterministic=config.deterministic,
            past_end=config.past_end,
            players=players,
        )
        for word in config.policy
    ]
    if any(behavior.watches for behavior in behaviors):
        with closing(envs):  # it draws nothing
            rendered = {**config.all_env_kwargs, "render_mode": "rgb_array"}
        envs = make_envs(config.env_id, num_envs, rendered)
    noisy = [with_noise(behavior, config.noise, spaces[1]) for behavior in behaviors]
    plan = Plan(
        env_id=config.env_id,
        env_kwargs=config.all_env_kwargs,
        policies=[behavior.name for behavior in behaviors],
        file_hashes=[behavior.content[:16] for behavior in behaviors],
        episodes=shares,
        noise=config.noise,
        deterministic=config.deterministic,
        num_envs=num_envs,
        seed=config.seed,
        past_end=config.past_end,
    )
    with closing(envs), open_collection(config.out, plan) as collection:
        with episode_progress(console, config.episodes) as on_step:
            play_plan(collection, noisy, envs, on_step)
        outcomes = publish(collection, envs)
    _print_outcomes(outcomes, console)
    console.print(f"wrote {config.out} ({target})", markup=False)
    return 0


def _print_outcomes(outcomes: Sequence[Outcome], console: Console) -> None:
    """A row for each policy: what its episodes came to."""
    from rich.console import JustifyMethod
    from rich.table import Table

    table = Table()
    for column in ("policy", "episodes", "steps", "return", "standard error", "least", "most"):
        justify: JustifyMethod = "left" if column == "policy" else "right"
        table.add_column(column, justify=justify, overflow="fold")
    for outcome in outcomes:
        returns, count = outcome.returns, len(outcome.returns)
        error = f"{returns.std(ddof=1) / count**0.5:.1f}" if count > 1 else "-"
        mean, least, most = (f"{x:.1f}" for x in (returns.mean(), returns.min(), returns.max()))
        steps = str(outcome.lengths.sum())
        table.add_row(outcome.policy, str(count), steps, mean, error, least, most)
    console.print(table)
