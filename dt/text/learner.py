"""A language model's learner: fresh weights, rows by number, and the loss of texts' own tokens."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dt.config.text import TextConfig
from dt.model.parameter_names import DIVIDED, KERNEL
from dt.model.params import Params
from dt.text.model.language_model import LanguageModel, abstract_model
from dt.text.model.trained import hold, trained_mask
from dt.text.pretrained.read import Pretrained
from dt.text.rows import TextBatch, TextDraw, TextRows, batch_of
from dt.text.spec import TextSpec
from dt.training.learning import AnyLearner
from dt.training.loss import LossFunction, Parts
from dt.training.optimizer import only_where

CHUNK = 1 << 24  # logits that are in memory at a time, at most; of one place there may be more


class TextLearner(AnyLearner):
    """What updates of a language model are made of, for one optimiser and seed."""

    spec: TextSpec
    config: TextConfig

    def __init__(self, spec: TextSpec, config: TextConfig, pretrained: Pretrained | None = None):
        """Make the learner.

        Args:
            pretrained: whose weights are the first; None: random ones are.
        """
        self.graph, shapes = nnx.split(abstract_model(spec.model))
        self.spec, self.pretrained, start = spec, pretrained, config.start
        self.trained = None
        if start.trained != "all":
            self.trained = trained_mask(shapes, start.trained, start.blocks)
        self.divided = {words: axis for words, axis in DIVIDED.items() if KERNEL in words}
        super().__init__(config)
        if self.trained is not None:
            self.optimizer = only_where(self.trained, self.optimizer)

    def make_loss(self, training: bool) -> LossFunction:
        graph, trained = self.graph, self.trained

        def loss(
            params: Params,
            batch: TextBatch,
            is_null: Bool[Array, " b"],
            key: Array,
            count: Int[Array, ""],
        ) -> tuple[Float[Array, ""], Parts]:
            if trained is not None:
                params = hold(params, trained)
            model = nnx.merge(graph, params)
            rngs = nnx.Rngs(dropout=key) if training else None
            # Padding stands last, where causality hides it.
            hidden = model(batch.tokens[:, :-1], None, batch.returns, is_null, rngs=rngs)
            losses = -log_likelihoods(model, hidden, batch.tokens[:, 1:])
            return jnp.where(batch.mask, losses, 0.0).sum() / count, {}

        return loss

    def fresh(self) -> Params:
        return nnx.state(LanguageModel(self.spec.model, rngs=nnx.Rngs(self.config.seed)))

    def given(self) -> Params | None:
        return None if self.pretrained is None else self.pretrained.params(self.config.seed)

    def cut(self, steps: TextRows, draw: TextDraw) -> TextBatch:
        """Take the rows of these numbers."""
        return batch_of(steps, draw)


def log_likelihoods(
    model: LanguageModel, hidden: Float[Array, "B L D"], tokens: Int[Array, "B L"]
) -> Float[Array, "B L"]:
    """Compute the log-probability of each token, given the hidden vector before it.

    Some places at a time, whose logits are computed again on the way back: those of all would be
    the largest array of training by far, (B, L, V).
    """

    def of_some(hidden: Float[Array, "B l D"], tokens: Int[Array, "B l"]) -> Float[Array, "B l"]:
        logits = model.logits(hidden)
        wanted = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
        return wanted - jax.nn.logsumexp(logits, axis=-1)

    rows, length, _ = hidden.shape
    some = max(1, CHUNK // (rows * model.config.vocabulary))
    if some >= length:
        return of_some(hidden, tokens)
    count = -(-length // some)
    short = count * some - length

    def chunks(x: Array) -> Array:
        padded = jnp.pad(x, [(0, 0), (0, short), *[(0, 0)] * (x.ndim - 2)])
        return padded.reshape(rows, count, some, *x.shape[2:]).swapaxes(0, 1)

    parts = jax.lax.map(
        lambda part: jax.checkpoint(of_some)(*part), (chunks(hidden), chunks(tokens))
    )
    return parts.swapaxes(0, 1).reshape(rows, count * some)[:, :length]
