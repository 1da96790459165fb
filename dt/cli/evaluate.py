"""The command line of `evaluate.py`: play runs at target returns, or compare two cards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from dt.cli.args import parse_args
from dt.cli.exit_code import exit_code
from dt.cli.reward import evaluate_reward_run
from dt.cli.text import evaluate_text_run
from dt.training.run_directory import is_reward_run, is_text_run

if TYPE_CHECKING:
    from rich.console import Console

    from dt.acting.options import ActingOptions
    from dt.evaluation.card import AnyCard, Card
    from dt.evaluation.comparison import Comparison
    from dt.evaluation.evaluate import FindTask
    from dt.evaluation.of_run import Playing
    from dt.spec.spec import PolicySpec


@dataclass(frozen=True)
class EvaluateConfig:
    """Play trained runs at the returns they are asked for, and print their score cards."""

    run_dirs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Run directories; of several runs (seeds) also the aggregate card. Nothing else is needed."""
    targets: list[str] = field(default_factory=lambda: ["p5:p95:7"])
    """Returns (50 100 200), percentiles of the data's returns (p50) or a span (p5:p95:7). 'expert':
    the model chooses at every step, for layouts that predict the return."""
    kappa: float = 10.0
    """--targets expert: strength with which better returns are preferred; 0: as in the data."""
    expert_samples: int = 1
    """--targets expert: number of returns that are drawn; the largest is asked for."""
    ood: float = 0.0
    """Reach of three targets more, beyond the data, unclipped: 1.5: up to p5 + 1.5 (p95 - p5)."""
    episodes: int = 50
    """Episodes for each target."""
    env: str = ""
    """Environment id; empty: the one the data came from."""
    checkpoint: str = "last"
    """Which checkpoint plays: last, best (lowest calibration error in training) or an update."""
    baseline: Literal["none", "null"] = "none"
    """null: the null token in place of the return, which should make targets meaningless."""
    deterministic: bool = False
    """Take the likeliest action instead of sampling."""
    temperature: float = 1.0
    """Temperature of sampled actions: below 1 nearer to the likeliest."""
    top_p: float = 1.0
    """Probability of the likeliest actions together, among which alone is sampled; 1: all."""
    guidance: float | None = None
    """Weight of what the return changes in the policy: 0 leaves it out, 1 is the model as it is,
    above 1 it counts for more; by default --evaluation.guidance of train.py."""
    guidance_enough: float | None = None
    """The weight once all that was asked for has come; by default --guidance, if that is given."""
    enough_below: float = 0.03
    """--guidance-enough counts when less is left than this share of the data's highest return."""
    fit_request_map: bool = False
    """Measure which request brings which return, on episodes of its own; kept in the run."""
    calibrated: bool = False
    """Targets are returns to achieve: ask for what the run's request map says brings them."""
    asked: bool = False
    """Targets are returns to achieve: give what `dt steer RUN ask` measured to bring them."""
    steer: str = ""
    """A .steer file to act by, which a verb of dt steer made for these weights."""
    recompute: bool = False
    """Act on the last context_length timesteps, computed anew at every step, not from a cache."""
    past_end: Literal["error", "clamp"] = "error"
    """Past the longest timestep that the model knows: an error, or (clamp) on at that position."""
    on_device: bool = False
    """Policy and environment in one program, for environments with a functional form: CartPole-v1,
    Pendulum-v1, Gymnasium's phys2d, and gymnax/NAME or brax/NAME with --env."""
    video: Path | None = None
    """Folder for films too: an episode of each target, and all side by side, without a screen."""
    vectorization: Literal["auto", "sync", "async"] = "auto"
    """How environments step together; auto: MuJoCo and Atari on threads, others one after the other
    in this process, as sync has it for all; async: a process a row, for slow ones."""
    step_timeout: float = 0.0
    """Seconds that a step of all environments may take before it counts as hung; 0: no limit."""
    compare: tuple[Path, Path] | None = None
    """Two cards (files, folders of --out, or run directories, whose card is the one that training
    made): what changes from A to B; nothing is played."""
    out: Path | None = None
    """Folder for the card, of several runs for the aggregate, or for the comparison. By default
    cards are written to RUN/cards (the first run's), and comparisons beside card B."""
    write: bool = True
    """Write cards and comparisons; without, they are printed alone."""
    json: Path | None = None
    """Write the last card, or the comparison, to this file too."""
    seed: int = 0
    """Seed of the first run's episodes; the next run takes the next seed."""

    def __post_init__(self) -> None:
        if bool(self.run_dirs) == (self.compare is not None):
            raise ValueError("name one or more run directories, or two cards with --compare A B")
        if self.episodes < 1:
            raise ValueError(f"--episodes is {self.episodes}; it must be at least 1")
        if not 0 <= self.seed < 2**32 - len(self.run_dirs):
            raise ValueError(f"--seed is {self.seed}; it must be from 0 to 2^32 - 1")
        if not self.targets:
            raise ValueError("--targets is empty; give returns (50 100) or a span (p5:p95:7)")
        if self.json is not None and not self.json.parent.is_dir():
            raise ValueError(f"--json {self.json}: there is no folder {self.json.parent}")
        if self.json is not None and self.json.is_dir():
            raise ValueError(f"--json {self.json}: is a folder; name a file in it")
        for name in ("video", "out"):
            folder = getattr(self, name)
            if folder is not None and folder.exists() and not folder.is_dir():
                raise ValueError(f"--{name} {folder}: is a file; name a folder")
        if not 0 <= self.step_timeout < float("inf"):
            raise ValueError(f"--step-timeout is {self.step_timeout}; give seconds, or 0")
        for excluded, message in self._exclusions():
            if excluded:
                raise ValueError(message)

    def _exclusions(self) -> tuple[tuple[bool, str], ...]:
        """Say which flags exclude each other: whether they do so here, and what to do about it."""
        drawn = (self.temperature, self.top_p) != (1.0, 1.0)
        is_mapped = self.calibrated or self.fit_request_map
        return (
            (
                self.out is not None and not self.write,
                "--out names where to write what --no-write leaves unwritten; leave one out",
            ),
            (
                self.on_device and self.step_timeout > 0,
                "--step-timeout watches environments on the host, not --on-device's",
            ),
            (
                self.on_device and self.vectorization != "auto",
                "--vectorization is of environments on the host, not --on-device's",
            ),
            (
                self.on_device and self.video is not None,
                "--video films environments on the host, not --on-device's",
            ),
            (
                self.expert
                and (self.ood != 0 or self.calibrated or self.fit_request_map or self.on_device),
                "--targets expert leaves the returns to the model: leave out --ood, --calibrated, "
                "--fit-request-map and --on-device",
            ),
            (
                not self.expert and (self.kappa, self.expert_samples) != (10.0, 1),
                "--kappa and --expert-samples are of --targets expert; leave them out",
            ),
            (
                self.deterministic and drawn,
                "--deterministic takes the likeliest action, whatever --temperature and --top-p "
                "are; leave one or the others out",
            ),
            (
                "expert" in self.targets and not self.expert,
                "--targets expert stands alone, without other targets",
            ),
            (
                is_mapped and drawn,
                "a request map holds for actions as the model draws them: leave out --temperature "
                "and --top-p",
            ),
            (
                is_mapped and (self.ood != 0 or self.baseline == "null"),
                "--calibrated and --fit-request-map ask within the data and need the return: leave "
                "out --ood and --baseline null",
            ),
        )

    @property
    def expert(self) -> bool:
        return self.targets == ["expert"]

    def acting_options(self) -> ActingOptions:
        from dt.acting.options import ActingOptions
        from dt.model.heads import ReturnChoice

        return ActingOptions(
            deterministic=self.deterministic,
            temperature=self.temperature,
            top_p=self.top_p,
            null=self.baseline == "null",
            clip=not self.ood,
            recompute=self.recompute,
            expert=ReturnChoice(self.kappa, self.expert_samples) if self.expert else None,
            calibrated=self.calibrated,
            past_end=self.past_end,
            guidance=self.guidance,
            guidance_enough=self.guidance_enough,
            enough_below=self.enough_below,
            asked=self.asked,
            steer=self.steer,
        )


def main(args: list[str], load_envs: Callable[[], FindTask], prog: str = "evaluate.py") -> int:
    """Evaluate runs, or compare two cards.

    Args:
        args: the words after the program's name.
        load_envs: registers environments, and gives what finds those that run on the device; called
            once JAX may start.
        prog: what the user typed, for messages and the card.

    Returns:
        The exit code: 2 for what cannot be done, 130 where it was stopped.
    """

    def command() -> int:
        if any(is_text_run(Path(word)) for word in args if not word.startswith("-")):
            rewards = any(is_reward_run(Path(word)) for word in args)
            return (evaluate_reward_run if rewards else evaluate_text_run)(args, prog)
        config = parse_args(EvaluateConfig, args, prog)
        if config.compare is not None:
            return _compare(config, *config.compare)
        return _evaluate(config, " ".join([prog, *args]), load_envs)

    return exit_code(prog, command, "stopped, nothing more written")


def _evaluate(config: EvaluateConfig, command: str, load_envs: Callable[[], FindTask]) -> int:
    # Imported here so that --help and mistyped flags answer at once.
    from rich.console import Console

    from dt.play.rendering import without_screen

    without_screen()  # before MuJoCo is imported

    from dt.acting.targets import parse_targets, targets_beyond
    from dt.checkpoint.load import find_checkpoint, load_spec
    from dt.evaluation.aggregate import aggregate_cards, check_alike
    from dt.evaluation.of_run import Playing
    from dt.parallel.startup import use_compilation_cache, use_cpu_cores
    from dt.report.card_table import print_card
    from dt.report.write import write_joint_answer

    console = Console(highlight=False)
    use_compilation_cache()
    if config.on_device:
        use_cpu_cores()
    find_task = load_envs()

    specs = [load_spec(find_checkpoint(path, config.checkpoint)) for path in config.run_dirs]
    check_alike(list(config.run_dirs), specs)
    words = ["p95"] if config.expert else config.targets
    targets = parse_targets(words, specs[0].dataset)
    targets += targets_beyond(config.ood, specs[0].dataset) if config.ood else []
    written: list[Path] = []
    cards: list[Card] = []
    first = Playing(
        checkpoint=config.checkpoint,
        env_id=config.env,
        seed=config.seed,
        options=config.acting_options(),
        on_device=find_task if config.on_device else None,
        step_timeout=config.step_timeout,
        vectorization=config.vectorization,
        command=command,
    )
    for number, (run_dir, spec) in enumerate(zip(config.run_dirs, specs, strict=True)):
        playing = replace(first, seed=config.seed + number)
        card, files = _play(config, run_dir, spec, targets, playing, console)
        cards += [] if card is None else [card]
        written += files
    last: AnyCard | None = cards[-1] if cards else None
    if len(cards) > 1:
        last = aggregate_cards(cards, [path.resolve().name for path in config.run_dirs])
        print_card(last, console)
        question = first.question(config.targets, config.episodes, specs[0], config.ood)
        if config.write:
            written += write_joint_answer(last, list(config.run_dirs), question, config.out)
    return _finish(config, last, written, console)


def _play(
    config: EvaluateConfig,
    run_dir: Path,
    spec: PolicySpec,
    targets: list[float],
    playing: Playing,
    console: Console,
) -> tuple[Card | None, list[Path]]:
    """What is asked of one run: its request map, its card, its films; and the files of them."""
    from dt.acting.request_map import REQUEST_MAP
    from dt.cli.progress import episode_progress
    from dt.evaluation.evaluate import targets_for
    from dt.evaluation.of_run import NUM_REQUESTS, card_of_run, film_run, fit_request_map
    from dt.report.card_table import print_card, print_request_map
    from dt.report.write import write_answer

    written: list[Path] = []
    if config.fit_request_map:
        with episode_progress(console, NUM_REQUESTS * config.episodes) as on_step:
            request_map = fit_request_map(run_dir, config.episodes, playing, on_step)
        print_request_map(request_map, console)
        written.append(run_dir / REQUEST_MAP)
        if not config.calibrated:
            return None, written
    count = len(targets_for(spec, targets))
    with episode_progress(console, count * config.episodes) as on_step:
        card = card_of_run(run_dir, targets, config.episodes, playing, on_step=on_step)
    print_card(card, console)
    several = len(config.run_dirs) > 1
    if config.write:
        question = playing.question(config.targets, config.episodes, spec, config.ood)
        written += write_answer(card, run_dir, question, None if several else config.out)
    if config.video is not None:
        folder = config.video / run_dir.resolve().name if several else config.video
        filmed = film_run(run_dir, targets, folder, playing)
        console.print(filmed.describe(), markup=False)
        written += filmed.files
    return card, written


def _compare(config: EvaluateConfig, a: Path, b: Path) -> int:
    from rich.console import Console

    from dt.evaluation.comparison import compare_cards, read_card
    from dt.report.comparison_table import print_comparison
    from dt.report.write import write_comparison

    comparison = compare_cards(read_card(a), read_card(b), (str(a), str(b)))
    console = Console(highlight=False)
    print_comparison(comparison, console)
    if not config.write:
        return _finish(config, comparison, [], console)
    out = config.out or (b if b.is_dir() else b.parent)
    out.mkdir(parents=True, exist_ok=True)
    return _finish(config, comparison, write_comparison(comparison, out), console)


def _finish(
    config: EvaluateConfig,
    result: AnyCard | Comparison | None,
    written: list[Path],
    console: Console,
) -> int:
    from dt.files import write_json

    if config.json is not None and result is not None:
        write_json(config.json, result.to_json())
        written.append(config.json)
    if written:
        console.print("wrote " + ", ".join(map(str, written)), markup=False, soft_wrap=True)
    return 0
