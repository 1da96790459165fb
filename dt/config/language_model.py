"""Options of the causal language model: its size, and the details in which architectures differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from dt.config.checks import (
    BelowOne,
    Count,
    CountOrNone,
    Positive,
    check_bounds,
    require,
)


@dataclass(frozen=True)
class LanguageModelConfig:
    """One model for GPT-2, Llama and what is trained from nothing, which these sizes are for."""

    vocabulary: CountOrNone = 0
    """Number of tokens there are; 0: the tokenizer's."""
    longest: Count = 128
    """Tokens of the longest text, its prompt included."""
    width: Count = 256
    """Size of a token's vector."""
    num_layers: Count = 4
    """Number of transformer blocks."""
    num_heads: Count = 4
    """Attention heads of each block."""
    num_key_heads: CountOrNone = 0
    """Heads of keys and values, which several heads share; 0: as many as heads."""
    head_width: CountOrNone = 0
    """Size of a head; 0: the width divided among the heads."""
    mlp_width: CountOrNone = 0
    """Size within the MLP; 0: 4 times the width, of swiglu 8/3 times, which are as many weights."""
    norm: Literal["layer", "rms"] = "rms"
    """Norm before attention, MLP and head."""
    positions: Literal["learned", "rotary"] = "rotary"
    """A learned vector for each position, or turns of queries and keys by their distance."""
    activation: Literal["gelu", "swiglu"] = "swiglu"
    """Within the MLP; gelu by the tanh formula, as GPT-2's."""
    tied_head: bool = True
    """Score tokens by their own embedding, in place of a matrix apart."""
    biases: bool = False
    """Biases in the linear layers of the blocks."""
    epsilon: Positive = 1e-5
    """Of every norm."""
    num_positions: CountOrNone = 0
    """Positions that the model was made for, of which `longest` are used; 0: these alone."""
    rope_theta: Positive = 10_000.0
    """Base of the wavelengths of rotary positions."""
    window: CountOrNone = 0
    """Tokens that a token attends to, its own included; 0: all before it."""
    return_width: Count = 64
    """Size of the hidden layer that the return goes through."""
    adapter_rank: CountOrNone = 0
    """Rank of what is added to each matrix of the blocks (Hu et al. 2021); 0: nothing."""
    dropout: BelowOne = 0.1
    """Chance that a number of the residual stream is set to zero in training."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the blocks compute in; weights, norms, softmax and losses are float32 always."""
    remat: bool = False
    """Compute each block again on the way back rather than keep what is inside: less memory."""
    scan_layers: bool = False
    """Compile one block and loop over it: deep models then compile faster."""

    def __post_init__(self) -> None:
        check_bounds(self, "model.")
        if not self.head_width:
            needed = f"a multiple of num_heads={self.num_heads}, or come with a head_width"
            require(self.width % self.num_heads == 0, "model.width", self.width, needed)
        needed = f"a divisor of num_heads={self.num_heads}"
        shared = self.num_heads % self.key_heads == 0
        require(shared, "model.num_key_heads", self.num_key_heads, needed)
        needed = f"0, or at least longest={self.longest}"
        enough = self.positions_held >= self.longest
        require(enough, "model.num_positions", self.num_positions, needed)
        even = self.positions == "learned" or self.head_size % 2 == 0
        require(even, "model.head_width", self.head_size, "even, as rotary positions turn pairs")

    @property
    def positions_held(self) -> int:
        """Positions that the weights are for."""
        return self.num_positions or self.longest

    @property
    def key_heads(self) -> int:
        """Heads of keys and values."""
        return self.num_key_heads or self.num_heads

    @property
    def head_size(self) -> int:
        """Numbers of one head."""
        return self.head_width or self.width // self.num_heads

    @property
    def hidden(self) -> int:
        """Numbers within the MLP."""
        if self.mlp_width:
            return self.mlp_width
        # A multiple of 8, which processors multiply fast.
        return 4 * self.width if self.activation == "gelu" else -(-self.width // 3) * 8


Trained = Literal["all", "blocks", "adapters", "return"]


@dataclass(frozen=True)
class StartConfig:
    """Which weights of others a run begins with, and which of them it trains."""

    source: Annotated[str, tyro.conf.arg(aliases=["--from"])] = ""
    """A GPT-2 or Llama folder of Hugging Face, or a .gguf file of Llama architecture, with its
    tokenizer; empty: random weights. Its sizes stand in place of the model's options."""
    trained: Trained = "all"
    """What is trained: all; the last blocks; adapters of model.adapter_rank; or nothing but what
    the return goes through, which the other three train too."""
    blocks: Count = 2
    """How many of the last blocks, with trained 'blocks'."""

    def __post_init__(self) -> None:
        check_bounds(self, "start.")
        needed = "all without start.source: random weights want training"
        require(bool(self.source) or self.trained == "all", "start.trained", self.trained, needed)
