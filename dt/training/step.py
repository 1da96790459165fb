"""A decision transformer's learner: fresh weights, windows cut out of the data, and its loss."""

from __future__ import annotations

from flax import nnx

from dt.config import TrainConfig
from dt.data.batches.windows import Batch, Steps, Windows, gather
from dt.model.decision_transformer import DecisionTransformer, abstract_model
from dt.model.parameter_names import divided_names
from dt.model.params import Params
from dt.spec.spec import PolicySpec
from dt.training.feed import Draw
from dt.training.learning import AnyLearner
from dt.training.loss import LossFunction, make_loss


class Learner(AnyLearner):
    """What updates of a decision transformer are made of, for one optimiser and seed."""

    spec: PolicySpec
    config: TrainConfig

    def __init__(self, spec: PolicySpec, config: TrainConfig):
        model = abstract_model(spec)
        self.graph, _ = nnx.split(model)
        self.spec = spec
        self.divided = divided_names(model.transformer.attends)
        self.num_steps_of_window = config.model.context_length * config.data.windows_per_segment
        super().__init__(config)

    def make_loss(self, training: bool) -> LossFunction:
        return make_loss(self.graph, training)

    def fresh(self) -> Params:
        return nnx.state(DecisionTransformer(self.spec, rngs=nnx.Rngs(self.config.seed)))

    def cut(self, steps: Steps | None, draw: Draw) -> Batch:
        """Cut windows out of the data; where a batch itself is drawn, take it as it is."""
        if steps is None:
            assert isinstance(draw, Batch)
            return draw
        assert isinstance(draw, Windows)
        return gather(steps, draw, self.num_steps_of_window, self.spec.prefix_steps)
