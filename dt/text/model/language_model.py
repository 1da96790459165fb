"""The causal language model that is told a return: GPT-2, Llama, or one trained from nothing.

Axes: B texts, L tokens, D width, V vocabulary, H heads, K heads of keys and values, d head size,
F features of the return.

The return enters every block: a hidden layer makes features of it, and a map of each block, which
starts at zero, adds a vector to the residual stream of all tokens. No position is taken, so until
those maps have learned something, and for ever where the return is the null token, the model is the
plain language model, bit for bit.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dt.config.language_model import LanguageModelConfig
from dt.model.attention import attend
from dt.model.attention.mask import Reach
from dt.model.dropout import dropout_in_training
from dt.model.layers import Linear
from dt.model.recipe import EMBEDDING_INIT
from dt.model.stack import run_stack
from dt.text.model.block import Block, make_norm, waves_of


class LanguageModel(nnx.Module):
    """Tokens and a return -> hidden vectors -> logits of the next token."""

    def __init__(self, config: LanguageModelConfig, *, rngs: nnx.Rngs):
        """Make the layers.

        Raises:
            ValueError: when the configuration leaves the vocabulary to a tokenizer.
        """
        if not config.vocabulary:
            raise ValueError("model.vocabulary is 0; it must be the tokenizer's number of tokens")
        self.config, width = config, config.width
        self.embed = nnx.Embed(config.vocabulary, width, embedding_init=EMBEDDING_INIT, rngs=rngs)
        if config.positions == "learned":
            self.places = nnx.Embed(
                config.positions_held, width, embedding_init=EMBEDDING_INIT, rngs=rngs
            )
        # Biases spread where the hidden layer bends over the range of returns.
        bends = nnx.initializers.normal(1.0)
        self.return_hidden = Linear(1, config.return_width, bias_init=bends, rngs=rngs)
        self.blocks = nnx.List([Block(config, rngs=rngs) for _ in range(config.num_layers)])
        self.norm = make_norm(config, rngs=rngs)
        if not config.tied_head:
            self.head = Linear(width, config.vocabulary, use_bias=False, rngs=rngs)

    def __call__(
        self,
        tokens: Int[Array, "B L"],
        mask: Bool[Array, "B L"] | None = None,
        returns: Float[Array, " B"] | None = None,
        null: Bool[Array, " B"] | None = None,
        *,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "B L D"]:
        """Compute the hidden vector of each token, which `logits` reads the next token off.

        Args:
            mask: real tokens; positions are counted over them, and nobody attends to others, on
                whichever side of a text they lie. None: padding, if any, stands last, where
                causality hides it at no cost.
            returns: of each text, in the model's units (mean 0 and deviation 1 over the data);
                None: nobody is told one.
            null: texts that are told none all the same.
            rngs: for dropout; without them the model is deterministic.

        Raises:
            ValueError: for texts that are longer than the model's longest.
        """
        config, length = self.config, tokens.shape[1]
        if length > config.longest:
            raise ValueError(f"a text has {length} tokens; the model's longest is {config.longest}")
        positions = positions_of(tokens, mask)
        x = dropout_in_training(self.embedded(tokens, positions), config.dropout, rngs)
        waves, features = waves_of(positions, config), self.features(returns, null)
        reach, queries = Reach(config.window or length, 1), np.arange(length)

        def look(q: Array, k: Array, v: Array) -> tuple[Array, None]:
            k, v = (jnp.repeat(each, q.shape[2] // k.shape[2], axis=2) for each in (k, v))
            return attend(q, k, v, mask, reach, queries), None

        def run(block: Block, x: Array, rngs: nnx.Rngs | None) -> Array:
            return block(x, look, waves, features, rngs)[0]

        blocks = list(self.blocks)
        x = run_stack(blocks, x, run, run, rngs, remat=config.remat, scan=config.scan_layers)
        return self.norm(x).astype(jnp.float32)

    def logits(self, hidden: Float[Array, "*b D"]) -> Float[Array, "*b V"]:
        """Compute the logits of the next token, float32; of few vectors at a time, or they fill
        the memory."""
        hidden = hidden.astype(self.config.dtype)
        product = partial(jnp.einsum, preferred_element_type=jnp.float32)
        if self.config.tied_head:
            return product("...d,vd->...v", hidden, self.embed.embedding[...].astype(hidden.dtype))
        return product("...d,dv->...v", hidden, self.head.kernel[...].astype(hidden.dtype))

    def embedded(
        self, tokens: Int[Array, "B L"], positions: Int[Array, "B L"]
    ) -> Float[Array, "B L D"]:
        """Look the tokens' vectors up, and their positions' where these are learned."""
        x = self.embed(tokens)
        if self.config.positions == "learned":
            x = x + self.places(positions)
        return x.astype(self.config.dtype)

    def features(
        self, returns: Float[Array, " B"] | None, null: Bool[Array, " B"] | None
    ) -> Float[Array, "B F"] | None:
        """Compute what the blocks see of each text's return: nothing but zeros for the null token,
        None where nobody is told a return."""
        if returns is None:
            return None
        features = jax.nn.gelu(self.return_hidden(returns.astype(jnp.float32)[:, None]))
        return features if null is None else jnp.where(null[:, None], 0, features)


def positions_of(tokens: Int[Array, "B L"], mask: Bool[Array, "B L"] | None) -> Int[Array, "B L"]:
    """Count each text's real tokens from 0; padding takes the position of the token before it."""
    if mask is None:
        return jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    return jnp.maximum(jnp.cumsum(mask, axis=1, dtype=jnp.int32) - 1, 0)


def abstract_model(config: LanguageModelConfig) -> LanguageModel:
    """Make the model's structure, with shapes in place of weights."""
    return nnx.eval_shape(lambda: LanguageModel(config, rngs=nnx.Rngs(0)))
