"""What decides a run: everything that can be chosen, and its defaults."""

from __future__ import annotations

import dataclasses
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from dt.data.reference import Reference
from dt.data.transforms import Transforms


def _require(holds: bool, name: str, value: Any, needed: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {value}; it must be {needed}")


def _require_finite(config: Any, prefix: str = "") -> None:
    """All numbers but a norm to clip at, of which infinity is the one that never does."""
    for each in dataclasses.fields(config):
        value, name = getattr(config, each.name), f"{prefix}{each.name}"
        if dataclasses.is_dataclass(value):
            _require_finite(value, f"{name}.")
        elif isinstance(value, float) and each.name != "clip_norm":
            _require(math.isfinite(value), name, value, "a finite number")


def cache_home() -> Path:
    """Where things are kept that can be made again: compiled programs, training stores."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dt-steer"


@dataclass(frozen=True)
class ModelConfig:
    """The transformer; its sizes are by default the paper's gym model's (Chen et al. 2021)."""

    recipe: Literal["default", "chen2021", "atari-chen2021"] = "default"
    """chen2021: the paper's embeddings, blocks and optimiser, and its window to act in;
    atari-chen2021: the same for the paper's model of Atari's pictures."""
    layout: str = "return-observation-action"
    """Tokens of a timestep, in order; 'observation-action' is behaviour cloning."""
    conditioning: Literal["token", "added", "adaln"] = "token"
    """The layout's return: a token of its own, added to the observation's, or, by adaptive layer
    norms, told to every block."""
    prefix: Literal["none", "goal", "prompt"] = "none"
    """What stands before all tokens, for all of them to see: where the episode shall end, or a part
    of another episode that went about as well (Xu et al. 2022)."""
    prompt_length: int = 5
    """Timesteps of the episode that is shown, with prefix 'prompt'."""
    learned_prefix: int = 0
    """Learned vectors that stand there too (Lester et al. 2021)."""
    return_head: Literal["bins", "expectile"] = "bins"
    """Of layouts that predict the return too, such as observation-return-action."""
    return_bins: int = 120
    return_expectile: float = 0.99
    return_smoothing: float = 2.0
    """Of bins: the standard deviation, in bins, of what is learned about each return."""
    return_weight: float = 0.3
    """Of the return's loss beside the action's."""
    context_length: int = 20
    """Timesteps that a token attends to, its own included."""
    num_layers: int = 3
    num_heads: int = 1
    width: int = 128
    """Size of a token's vector."""
    dropout: float = 0.1
    return_dropout: float = 0.15
    """Share of training windows whose return is the null token: one model, both policies."""
    size: Literal["", "small", "base", "large"] = ""
    """On the command line: num_layers, num_heads and width of a model of 0.7, 40 or 200 million
    parameters (Lee et al. 2022), unless they are given; empty: the preset's."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the blocks compute in; weights, norms, softmax and losses are float32 always."""
    remat: bool = False
    """Compute each block again on the way back rather than keep what is inside: less memory."""
    scan_layers: bool = False
    """Compile one block and loop over it: deep models then compile faster."""
    max_timesteps: int = 0
    """Longest episode the positions cover; 0: the longer of the data's and the environment's."""
    head: Literal["deterministic", "gaussian", "bins-uniform", "bins-quantile"] = "deterministic"
    """How an action's numbers are predicted; categories are drawn from probabilities always."""
    num_bins: int = 100
    """Bins of each number, for the heads that have some (Janner et al. 2021)."""

    def __post_init__(self) -> None:
        for name in ("context_length", "num_layers", "num_heads", "width", "prompt_length"):
            _require(getattr(self, name) >= 1, f"model.{name}", getattr(self, name), "at least 1")
        for name in ("max_timesteps", "learned_prefix"):
            _require(getattr(self, name) >= 0, f"model.{name}", getattr(self, name), "0 or more")
        for name in ("num_bins", "return_bins"):
            _require(getattr(self, name) >= 2, f"model.{name}", getattr(self, name), "at least 2")
        value = self.return_expectile
        _require(0.0 < value < 1.0, "model.return_expectile", value, "between 0 and 1")
        value = self.return_smoothing
        _require(value >= 0, "model.return_smoothing", value, "0 or more")
        _require(self.return_weight > 0, "model.return_weight", self.return_weight, "above 0")
        _require(
            self.width % self.num_heads == 0,
            "model.width",
            self.width,
            f"a multiple of num_heads={self.num_heads}",
        )
        for name in ("dropout", "return_dropout"):
            value = getattr(self, name)
            _require(0.0 <= value < 1.0, f"model.{name}", value, "in [0, 1)")
        if self.recipe != "default":
            with_recipe = f"with recipe {self.recipe}"
            value = self.return_dropout
            needed = f"0 {with_recipe}, which has no null token"
            _require(value == 0.0, "model.return_dropout", value, needed)
            fixed = ("conditioning", "head", "prefix", "learned_prefix")
            for name, only in zip(fixed, ("token", "deterministic", "none", 0), strict=True):
                value = getattr(self, name)
                _require(value == only, f"model.{name}", value, f"{only} {with_recipe}")


@dataclass(frozen=True)
class DataConfig:
    """What the model learns from, and how much of it one update sees."""

    source: Annotated[str, tyro.conf.arg(aliases=["--data"])] = ""
    """A file or a local Minari id; 'demo:cartpole' makes its own."""
    batch_size: int = 64
    """Windows of context_length timesteps an update."""
    windows_per_segment: int = 2
    """Consecutive windows trained as one segment; above 1 the cached policy is what was trained."""
    num_micro_batches: int = 1
    """Parts whose gradients are summed one after the other; small parts stay in a CPU's cache."""
    holdout_fraction: float = 0.0
    """Share of the episodes that no update sees: their loss is logged, and shows over-fitting."""
    top_fraction: float = 1.0
    """Train on the best episodes by return alone; 0.1 without returns in the layout is 10 % BC."""
    delay_reward: bool = False
    """All of an episode's reward comes with its last step."""
    reward_scale: float = 1.0
    reward_shift: float = 0.0
    """Rewards become reward * reward_scale + reward_shift, in the data and at play."""
    discount: float = 1.0
    """Of the return; targets and scores are then discounted too."""
    normalize_observations: bool = True
    unit_actions: bool = False
    """Logged actions lie in [-1, 1] and are scaled to the bounds of the environment's space."""
    reward: str = ""
    """LeRobot: the reward's column, or 'success' or 'final'; empty: next.reward."""
    cache: str = ""
    """Folder of training stores; empty: ~/.cache/dt-steer/data; 'none': keep the data in memory."""
    placement: Literal["auto", "device", "host", "disk"] = "auto"
    """Where the data lies while training; auto: on the device, or in memory, if it fits."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "windows_per_segment", "num_micro_batches"):
            _require(getattr(self, name) >= 1, f"data.{name}", getattr(self, name), "at least 1")
        _require(
            self.batch_size % self.windows_per_segment == 0,
            "data.batch_size",
            self.batch_size,
            f"a multiple of windows_per_segment={self.windows_per_segment}",
        )

        _require(
            self.num_segments % self.num_micro_batches == 0,
            "data.num_micro_batches",
            self.num_micro_batches,
            f"a divisor of the {self.num_segments} segments of a batch",
        )
        value = self.holdout_fraction
        _require(0.0 <= value < 1.0, "data.holdout_fraction", value, "in [0, 1)")
        value = self.top_fraction
        _require(0.0 < value <= 1.0, "data.top_fraction", value, "above 0 and at most 1")
        _require(0.0 < self.discount <= 1.0, "data.discount", self.discount, "in (0, 1]")
        value = self.reward_scale
        _require(value > 0.0, "data.reward_scale", value, "above 0")

    @property
    def transforms(self) -> Transforms:
        names = (field.name for field in dataclasses.fields(Transforms))
        return Transforms(**{name: getattr(self, name) for name in names})

    @property
    def cache_dir(self) -> Path | None:
        """Where training stores are kept; None to keep the data in memory."""
        if self.cache == "none":
            return None
        return Path(self.cache).expanduser() if self.cache else cache_home() / "data"

    @property
    def num_segments(self) -> int:
        """Rows of a batch."""
        return self.batch_size // self.windows_per_segment


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with a linear warm-up."""

    learning_rate: float = 3e-4
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: int = 1000
    warmup_fraction: float = 0.0
    """Warm-up as a share of all updates, in place of warmup_steps; 0: warmup_steps."""
    final_fraction: float = 0.1
    """Learning rate at the end of the cosine, as a share of the peak."""
    weight_decay: float = 1e-4
    decay: Literal["matrices", "all"] = "matrices"
    """What decays: matrices of linear layers, or biases, norms and embeddings too."""
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float = 0.25

    def __post_init__(self) -> None:
        value = self.learning_rate
        _require(value > 0, "optimizer.learning_rate", value, "above 0")
        _require(self.weight_decay >= 0, "optimizer.weight_decay", self.weight_decay, "0 or more")
        _require(
            all(0 <= b < 1 for b in self.betas), "optimizer.betas", self.betas, "each in [0, 1)"
        )
        _require(self.clip_norm > 0, "optimizer.clip_norm", self.clip_norm, "above 0")
        _require(self.warmup_steps >= 0, "optimizer.warmup_steps", self.warmup_steps, "0 or more")
        value = self.warmup_fraction
        _require(0.0 <= value <= 1.0, "optimizer.warmup_fraction", value, "from 0 to 1")


@dataclass(frozen=True)
class EvaluationConfig:
    """The score card at the end of training, and the environment it is played in."""

    env: str = ""
    """Environment id; empty: the data's own."""
    max_episode_steps: int = 0
    """Time limit; 0: the environment's own."""
    num_targets: int = 7
    """Targets, equally spaced from the 5th to the 95th percentile of the data's returns."""
    episodes: int = 20
    """Episodes for each target."""
    interval: int = 0
    """Updates between cards; 0: only at the end. The best card's checkpoint is kept."""
    reference: tuple[str, float, float] | None = None
    """Source, random and expert return of a normalised score; data may bring its own."""

    def __post_init__(self) -> None:
        for name in ("num_targets", "episodes"):
            value = getattr(self, name)
            _require(value >= 1, f"evaluation.{name}", value, "at least 1")
        for name in ("interval", "max_episode_steps"):
            value = getattr(self, name)
            _require(value >= 0, f"evaluation.{name}", value, "0 or more")
        enough = self.num_targets >= 2 or not self.interval
        needed = "at least 2 where evaluation.interval asks for cards to choose by"
        _require(enough, "evaluation.num_targets", self.num_targets, needed)

    @property
    def known_reference(self) -> Reference | None:
        return Reference(*self.reference) if self.reference else None

    @property
    def env_kwargs(self) -> dict[str, Any]:
        return {"max_episode_steps": self.max_episode_steps} if self.max_episode_steps else {}


@dataclass(frozen=True)
class MeshConfig:
    """How the devices divide the work, as a box of data x fsdp x model of them."""

    data: int = 0
    """Parts of the batch, each with all weights; 0: all devices that are left and divide it."""
    fsdp: int = 1
    """Parts of the batch that also share out weights and optimiser state among them."""
    model: int = 1
    """Parts of every block's matrices: for blocks too large for one device."""

    def __post_init__(self) -> None:
        _require(self.data >= 0, "mesh.data", self.data, "0 or more")
        for name in ("fsdp", "model"):
            _require(getattr(self, name) >= 1, f"mesh.{name}", getattr(self, name), "at least 1")


@dataclass(frozen=True)
class DistributedConfig:
    """The processes of a run on several machines; Slurm, Open MPI and TPU pods know it."""

    coordinator: str = ""
    """Address and free port of process 0, HOST:PORT."""
    num_processes: int = 0
    """Processes in all; 0: as the launcher says, and without one just this."""
    process_id: int = -1
    """Number of this process, from 0; -1: as the launcher says."""

    def __post_init__(self) -> None:
        value = self.num_processes
        _require(value >= 0, "distributed.num_processes", value, "0 or more")
        below = value or 2**31
        needed = f"from -1 to {below - 1}"
        value = self.process_id
        _require(-1 <= value < below, "distributed.process_id", value, needed)
        holds = not self.coordinator or self.coordinator.rpartition(":")[2].isdigit()
        _require(holds, "distributed.coordinator", self.coordinator, "HOST:PORT")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    distributed: DistributedConfig = field(default_factory=DistributedConfig)
    num_steps: int = 10_000
    """Updates."""
    seed: int = 0
    run_dir: str = ""
    """Where the run is written; empty: runs/PRESET, numbered if that is taken."""
    log_interval: int = 100
    """Updates between log lines; they run as one compiled program."""
    checkpoint_interval: int = 2000
    keep_checkpoints: int = 2
    """Newest checkpoints kept, beside the best."""
    resume: bool = False
    """Go on from the run directory's newest sound checkpoint."""
    on_nonfinite: Literal["stop", "skip"] = "stop"
    """Where a loss or gradient is not finite: stop, or leave that update out and go on."""
    profile: bool = False
    """Say where an update's time goes, and write a trace of some to RUN/profile, then train."""

    def __post_init__(self) -> None:
        _require_finite(self)
        for name in ("num_steps", "log_interval", "checkpoint_interval", "keep_checkpoints"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        _require(0 <= self.seed < 2**32, "seed", self.seed, "from 0 to 2^32 - 1")
        if self.model.recipe != "default":
            value = self.data.windows_per_segment
            needed = f"1 with recipe {self.model.recipe}, which acts on single windows"
            _require(value == 1, "data.windows_per_segment", value, needed)


def to_json(config: Any) -> dict[str, Any]:
    """A dataclass as plain JSON values."""
    return dataclasses.asdict(config)


def from_json(values: dict[str, Any]) -> TrainConfig:
    """The inverse of `to_json` for a whole run."""
    optimizer = {**values["optimizer"], "betas": tuple(values["optimizer"]["betas"])}
    evaluation = dict(values["evaluation"])
    if evaluation["reference"] is not None:
        evaluation["reference"] = tuple(evaluation["reference"])
    return TrainConfig(
        **{
            **values,
            "data": DataConfig(**values["data"]),
            "model": ModelConfig(**values["model"]),
            "optimizer": OptimizerConfig(**optimizer),
            "evaluation": EvaluationConfig(**evaluation),
            "mesh": MeshConfig(**values.get("mesh", {})),
            "distributed": DistributedConfig(**values.get("distributed", {})),
        }
    )
