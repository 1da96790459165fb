"""A reward model's learner: the loss of pairs (Bradley-Terry), or of scores (squared)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dt.config.text import TextConfig
from dt.model.parameter_names import DIVIDED, KERNEL
from dt.model.params import Params
from dt.text.model.trained import hold, trained_mask
from dt.text.pretrained.read import Pretrained
from dt.text.reward.model import RewardModel, abstract_reward_model
from dt.text.reward.rows import RewardBatch, RewardRows, reward_batch
from dt.text.reward.spec import RewardSpec
from dt.text.rows import TextDraw
from dt.training.learning import AnyLearner
from dt.training.loss import LossFunction, Parts
from dt.training.optimizer import only_where


class RewardLearner(AnyLearner):
    """What updates of a reward model are made of, for one optimiser and seed."""

    spec: RewardSpec
    config: TextConfig

    def __init__(self, spec: RewardSpec, config: TextConfig, pretrained: Pretrained | None = None):
        """Make the learner.

        Args:
            pretrained: whose weights are the language model's first; None: random ones are.
        """
        self.graph, shapes = nnx.split(abstract_reward_model(spec.model))
        self.spec, self.pretrained, start = spec, pretrained, config.start
        self.trained = None
        if start.trained != "all":
            self.trained = trained_mask(shapes, start.trained, start.blocks, ("language",))
        self.divided = {words: axis for words, axis in DIVIDED.items() if KERNEL in words}
        super().__init__(config)
        if self.trained is not None:
            self.optimizer = only_where(self.trained, self.optimizer)

    def make_loss(self, training: bool) -> LossFunction:
        graph, trained = self.graph, self.trained

        def loss(
            params: Params,
            batch: RewardBatch,
            is_null: Bool[Array, " b"],
            key: Array,
            count: Int[Array, ""],
        ) -> tuple[Float[Array, ""], Parts]:
            del is_null  # a reward model is told no return
            if trained is not None:
                params = hold(params, trained)
            model = nnx.merge(graph, params)
            rngs = nnx.Rngs(dropout=key) if training else None
            rows, texts, length = batch.tokens.shape
            flat = batch.tokens.reshape(-1, length), batch.own.reshape(-1, length)
            scores = model(*flat, rngs=rngs).reshape(rows, texts)
            if texts == 2:  # -log of the chance that the first wins (Bradley and Terry 1952)
                losses = jax.nn.softplus(scores[:, 1] - scores[:, 0])
            else:
                losses = jnp.square(scores[:, 0] - batch.targets)
            return losses.sum() / count, {}

        return loss

    def fresh(self) -> Params:
        return nnx.state(RewardModel(self.spec.model, rngs=nnx.Rngs(self.config.seed)))

    def given(self) -> Params | None:
        if self.pretrained is None:
            return None
        params = nnx.state(abstract_reward_model(self.spec.model))
        head = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), params["score"])
        return nnx.State({"language": self.pretrained.params(self.config.seed), "score": head})

    def cut(self, steps: RewardRows, draw: TextDraw) -> RewardBatch:
        """Take the rows of these numbers."""
        return reward_batch(steps, draw)
