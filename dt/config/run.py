"""Options of a whole run: its parts, its budget, its directory and its devices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge

from dt.config.checks import Count, CountOrNone, Seed, check_bounds, check_finite, require
from dt.config.data import DataConfig
from dt.config.evaluation import EvaluationConfig
from dt.config.model import ModelConfig
from dt.config.optimizer import OptimizerConfig


@dataclass(frozen=True)
class MeshConfig:
    """How the devices divide the work, as a box of data x fsdp x model of them."""

    data: CountOrNone = 0
    """Parts of the batch, each with all weights; 0: all devices that are left and divide it."""
    fsdp: Count = 1
    """Parts of the batch that also share out weights and optimiser state among them."""
    model: Count = 1
    """Parts of every block's matrices: for blocks too large for one device."""

    def __post_init__(self) -> None:
        check_bounds(self, "mesh.")


@dataclass(frozen=True)
class DistributedConfig:
    """The processes of a run on several machines; Slurm, Open MPI and TPU pods know it."""

    coordinator: str = ""
    """Address and free port of process 0, HOST:PORT."""
    num_processes: CountOrNone = 0
    """Processes in all; 0: as the launcher says, and without one just this."""
    process_id: Annotated[int, Ge(-1)] = -1
    """Number of this process, from 0; -1: as the launcher says."""

    def __post_init__(self) -> None:
        check_bounds(self, "distributed.")
        below = self.num_processes or 2**31
        needed = f"from -1 to {below - 1}"
        require(self.process_id < below, "distributed.process_id", self.process_id, needed)
        holds = not self.coordinator or self.coordinator.rpartition(":")[2].isdigit()
        require(holds, "distributed.coordinator", self.coordinator, "HOST:PORT")


@dataclass(frozen=True)
class LogConfig:
    """Where the numbers of metrics.jsonl go besides, and besides TensorBoard's files."""

    wandb: str = ""
    """Project of Weights & Biases to log to; empty: none. WANDB_MODE=offline stays on the disk."""


@dataclass(frozen=True)
class RunConfig:
    """What every run has, whatever it learns: optimiser, budget, directory and devices."""

    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    distributed: DistributedConfig = field(default_factory=DistributedConfig)
    log: LogConfig = field(default_factory=LogConfig)
    num_steps: Count = 10_000
    """Updates of the weights in all. More of them with --resume train a run longer: from there on
    the learning rate is that of a run of so many."""
    seed: Seed = 0
    """Decides the first weights, the batches, dropout, and the card's episodes."""
    run_dir: str = ""
    """Where the run is written; empty: runs/PRESET, numbered if that is taken."""
    log_interval: Count = 100
    """Updates between log lines; they run as one compiled program."""
    checkpoint_interval: Count = 2000
    """Updates between checkpoints; the last update has one too."""
    keep_checkpoints: Count = 2
    """Newest checkpoints kept, beside the best."""
    resume: bool = False
    """Go on from the run directory's newest sound checkpoint."""
    init_from: str = ""
    """Start from the weights of another run, with a fresh optimizer and in that run's units: its
    directory, or DIRECTORY@last, @best or @UPDATE; empty: random weights."""
    on_nonfinite: Literal["stop", "skip"] = "stop"
    """Where a loss or gradient is not finite: stop, or leave that update out and go on."""
    profile: bool = False
    """Say where an update's time goes, and write a trace of some to RUN/profile, then train."""

    def __post_init__(self) -> None:
        check_finite(self)
        check_bounds(self)

    @property
    def num_rows(self) -> int:
        """Rows of a batch."""
        raise NotImplementedError(f"{type(self).__name__} says nothing of batches")

    @property
    def num_micro_batches(self) -> int:
        """Parts whose gradients are summed one after the other."""
        return 1

    @property
    def card_interval(self) -> int:
        """Updates between the cards that choose a checkpoint; 0: none are made."""
        return 0

    @property
    def return_dropout(self) -> float:
        """Share of a batch's rows whose return is the null token."""
        return 0.0


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """Everything that decides a run on episodes."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model.recipe != "default":
            value = self.data.windows_per_segment
            needed = f"1 with recipe {self.model.recipe}, which acts on single windows"
            require(value == 1, "data.windows_per_segment", value, needed)

    @property
    def num_rows(self) -> int:
        return self.data.num_segments

    @property
    def num_micro_batches(self) -> int:
        return self.data.num_micro_batches

    @property
    def card_interval(self) -> int:
        return self.evaluation.interval

    @property
    def return_dropout(self) -> float:
        return self.model.return_dropout
