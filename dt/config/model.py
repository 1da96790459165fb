"""Options of the model: its tokens, its size, its heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Interval

from dt.config.checks import (
    BelowOne,
    Count,
    CountOrNone,
    NotNegative,
    Positive,
    check_bounds,
    require,
)

# The names of what comes with the package. Tables by these names are annotated with them, so that
# the type checker finds a name that is in one and not in the other.
RecipeName = Literal["default", "chen2021", "atari-chen2021"]
SizeName = Literal["small", "base", "large"]

Bins = Annotated[int, Ge(2)]


@dataclass(frozen=True)
class ModelConfig:
    """The transformer; its sizes are by default the paper's gym model's (Chen et al. 2021)."""

    recipe: RecipeName = "default"
    """Whose embeddings, blocks and optimiser; chen2021: the paper's, and its window to act in;
    atari-chen2021: the same for the paper's model of Atari's pictures."""
    layout: str = "return-observation-action"
    """Tokens of a timestep, in order; 'observation-action' is behaviour cloning."""
    conditioning: Literal["token", "added", "adaln"] = "token"
    """How the layout's return enters: as a token of its own, added to the observation's, or in
    every block by adaptive layer norms."""
    prefix: Literal["none", "goal", "prompt"] = "none"
    """What stands before all tokens, for all of them to see: where the episode shall end, or a part
    of another episode that went about as well (Xu et al. 2022)."""
    prompt_length: Count = 5
    """Timesteps of the episode that is shown, with prefix 'prompt'."""
    learned_prefix: CountOrNone = 0
    """Number of learned vectors before all tokens (Lester et al. 2021)."""
    return_head: Literal["bins", "expectile"] = "bins"
    """How the return is predicted, by layouts that do so, such as observation-return-action: as
    the chance of each of return_bins, or as one expectile."""
    return_bins: Bins = 120
    """Number of bins of the predicted return, with return_head 'bins'."""
    return_expectile: Annotated[float, Interval(gt=0, lt=1)] = 0.99
    """Which expectile of the return is predicted, with return_head 'expectile'; 0.5: the mean."""
    return_smoothing: NotNegative = 2.0
    """Standard deviation, in bins, of the target that is learned for each return."""
    return_weight: Positive = 0.3
    """Weight of the return's loss relative to the action's."""
    context_length: Count = 20
    """Timesteps that a token attends to, its own included."""
    num_layers: Count = 3
    """Number of transformer blocks."""
    num_heads: Count = 1
    """Attention heads of each block; they divide the width."""
    width: Count = 128
    """Size of a token's vector."""
    dropout: BelowOne = 0.1
    """Chance that a number within the blocks is set to zero in training."""
    return_dropout: BelowOne = 0.15
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
    max_timesteps: CountOrNone = 0
    """Longest episode the positions cover; 0: the longer of the data's and the environment's."""
    head: str = "deterministic"
    """How an action's numbers are predicted: deterministic, gaussian, bins-uniform, bins-quantile,
    or by a head of another package; categories are drawn from probabilities always."""
    number_encoder: str = ""
    """How an observation's numbers become a vector: linear, waves, or by an encoder of another
    package; empty: as the recipe has it, the default one by waves."""
    image_encoder: str = ""
    """How its pictures do: convolutions, or an encoder of another package; empty: convolutions."""
    num_bins: Bins = 100
    """Bins of each number, for the heads that have some (Janner et al. 2021)."""

    def __post_init__(self) -> None:
        check_bounds(self, "model.")
        require(self.head != "", "model.head", repr(self.head), "the name of a head")
        needed = f"a multiple of num_heads={self.num_heads}"
        require(self.width % self.num_heads == 0, "model.width", self.width, needed)
        if self.recipe != "default":
            with_recipe = f"with recipe {self.recipe}"
            needed = f"0 {with_recipe}, which has no null token"
            require(self.return_dropout == 0.0, "model.return_dropout", self.return_dropout, needed)
            fixed = {"conditioning": "token", "head": "deterministic", "prefix": "none"}
            for name, only in {**fixed, "learned_prefix": 0}.items():
                value = getattr(self, name)
                require(value == only, f"model.{name}", value, f"{only} {with_recipe}")
