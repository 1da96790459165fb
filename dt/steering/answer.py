"""What a model answers at the end of contexts, as one number with a slope, and its inputs.

Axes: B contexts, T timesteps, F features, A numbers of an action, K categories, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dt.acting.policy import ReturnConditionedPolicy
from dt.data.batches.windows import Batch
from dt.model.decision_transformer import DecisionTransformer
from dt.model.heads import BinsHead, DeterministicHead, GaussianHead
from dt.model.heads.action import Prediction
from dt.model.params import Params
from dt.model.points import TOKENS, Points
from dt.spec.spec import PolicySpec
from dt.steering.contexts import Contexts

Inputs: TypeAlias = dict[str, Array]
"""By modality (return, observation, action) what the model is told, (B, T, F)."""


@dataclass(frozen=True, eq=False)
class Answer:
    """The number that is explained: of one model, at the end of each of B contexts.

    Of a choice it is the logarithm of the odds of what the model itself finds likeliest; of numbers
    it is one of them, in the model's units, where bounds are -1 and 1.
    """

    graph: nnx.GraphDef[DecisionTransformer]
    spec: PolicySpec
    batch: Batch
    last: Int[Array, " B"]
    number: int = 0  # of an action's numbers
    chosen: Int[Array, " B"] | None = None  # the category whose odds it is; None: of numbers

    @classmethod
    def of(cls, policy: ReturnConditionedPolicy, on: Contexts, number: int | None = None) -> Answer:
        """Make the answer of a policy's model on contexts.

        Args:
            number: which of an action's numbers; None: the one that differs most among contexts.

        Raises:
            ValueError: for a head without a slope, and a number that an action does not have.
        """
        spec = policy.spec
        batch = jax.tree.map(jnp.asarray, on.batch)
        plain = cls(policy.program.graph, spec, batch, jnp.asarray(on.last))
        said = np.asarray(plain.actions(policy.params))
        if not spec.action_dim:
            return cls(plain.graph, spec, batch, plain.last, 0, jnp.asarray(said.argmax(axis=1)))
        number = int(said.std(axis=0).argmax()) if number is None else number
        if not 0 <= number < spec.action_dim:
            raise ValueError(f"number is {number}, and an action has {spec.action_dim}, from 0 on")
        return cls(plain.graph, spec, batch, plain.last, number)

    @property
    def name(self) -> str:
        """What it is, in words."""
        if self.chosen is not None:
            return "log-odds of the likeliest action"
        return f"number {self.number} of the action (its bounds are -1 and 1)"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The modalities that have numbers to attribute to."""
        spec = self.spec
        told = ["return"] if spec.conditional else []
        told += ["observation"] if spec.observation_dim else []
        return (*told, *(["action"] if spec.layout.has("action") else []))

    def told(self, params: Params) -> Inputs:
        """What the model is told in the contexts; of actions that are choices, their vectors."""
        batch, values = self.batch, dict[str, Array]()
        values["return"] = jnp.asarray(batch.returns_to_go)[..., None]
        values["observation"] = jnp.asarray(batch.observations.numbers)
        if "action" in self.inputs:
            values["action"] = batch.actions.numbers
            if self.spec.action_counts:
                values["action"] = self._vectors(params)
        return {name: values[name] for name in self.inputs}

    def nothing(self, params: Params) -> Inputs:
        """What stands for no information: the mean of the data, or of all actions' vectors."""
        told = self.told(params)
        none = {name: jnp.zeros_like(value) for name, value in told.items()}
        if "action" in told and self.spec.action_counts:
            mean = told["action"].mean(axis=(0, 1))
            none["action"] = jnp.broadcast_to(mean, told["action"].shape)
        return none

    def real(self, inputs: Inputs) -> dict[str, Bool[np.ndarray, "B T F"]]:
        """Which inputs the answer can depend on: steps that are there, and actions before it."""
        mask = np.asarray(self.batch.mask)
        before = np.arange(mask.shape[1]) < np.asarray(self.last)[:, None]
        seen = {name: before if name == "action" else mask for name in inputs}
        return {name: np.broadcast_to(seen[name][..., None], inputs[name].shape) for name in inputs}

    def __call__(self, params: Params, inputs: Inputs) -> Float[Array, " B"]:
        """Compute the answer to what the model is told."""
        return self.value(nnx.merge(self.graph, params), self.predicted(params, inputs))

    def value(self, model: DecisionTransformer, prediction: Prediction) -> Float[Array, " B"]:
        """Take the answer out of what the model predicts at the contexts' ends."""
        if self.chosen is not None:
            return log_odds(_first_logits(self.spec, prediction), self.chosen)
        return _numbers(model, prediction)[:, self.number]

    def margin(self, params: Params, inputs: Inputs) -> Float[Array, " B"]:
        """Compute by how much the chosen category's logit leads; it flips where that is below 0."""
        assert self.chosen is not None, "an action of numbers has no margin"
        logits = _first_logits(self.spec, self.predicted(params, inputs))
        own = jnp.take_along_axis(logits, self.chosen[:, None], axis=1)[:, 0]
        others = jnp.where(jax.nn.one_hot(self.chosen, logits.shape[1]) > 0, -jnp.inf, logits)
        return own - others.max(axis=1)

    def actions(self, params: Params, inputs: Inputs | None = None) -> Float[Array, "B A"]:
        """Compute the action: its numbers, or the probabilities of the choices."""
        if inputs is None:
            inputs = self.told(params)
        prediction = self.predicted(params, inputs)
        if not self.spec.action_dim:
            return jax.nn.softmax(_first_logits(self.spec, prediction))
        return _numbers(nnx.merge(self.graph, params), prediction)

    def predicted(self, params: Params, inputs: Inputs) -> Prediction:
        """Run the model on what it is told; what is not among `inputs` is the contexts' own."""
        model, batch, points = nnx.merge(self.graph, params), self.batch, None
        if "return" in inputs:
            batch = batch._replace(returns_to_go=inputs["return"][..., 0])
        if "observation" in inputs:
            seen = batch.observations._replace(numbers=inputs["observation"])
            batch = batch._replace(observations=seen)
        if "action" in inputs and self.spec.action_counts:
            vectors = inputs["action"]
            points = Points(do={f"{TOKENS}.action": lambda value, where: vectors})
        elif "action" in inputs:
            batch = batch._replace(actions=batch.actions._replace(numbers=inputs["action"]))
        return self.at_ends(model.predictions(batch, points=points)[0])

    def at_ends(self, prediction: Prediction) -> Prediction:
        """Take what is predicted at the contexts' ends out of (B, T, ...)."""
        rows = jnp.arange(len(self.last))
        return jax.tree.map(lambda x: x[rows, self.last], prediction)

    def _vectors(self, params: Params) -> Float[Array, "B T D"]:
        points = Points(read=[f"{TOKENS}.action"])
        nnx.merge(self.graph, params).predictions(self.batch, points=points)
        return points.seen[f"{TOKENS}.action"]


def log_odds(logits: Float[Array, "B K"], chosen: Int[Array, " B"]) -> Float[Array, " B"]:
    """Compute log p / (1 - p) of the chosen category."""
    own = jnp.take_along_axis(logits, chosen[:, None], axis=1)[:, 0]
    others = jnp.where(jax.nn.one_hot(chosen, logits.shape[1]) > 0, -jnp.inf, logits)
    return own - jax.nn.logsumexp(others, axis=1)


def _first_logits(spec: PolicySpec, prediction: Prediction) -> Float[Array, "B K"]:
    """The logits of an action's first category, which is explained where there are several."""
    assert prediction.categories is not None
    return prediction.categories[:, : spec.action_counts[0]]


def _numbers(model: DecisionTransformer, prediction: Prediction) -> Float[Array, "B A"]:
    """The numbers of the action that is taken without chance: means, where a head has a spread."""
    head, said = model.head.numbers, prediction.numbers
    assert said is not None
    if isinstance(head, DeterministicHead):
        return said
    if isinstance(head, GaussianHead):
        mean = said[:, : len(head.bounded)]
        return jnp.where(np.array(head.bounded), jnp.tanh(mean), mean)
    if isinstance(head, BinsHead):
        logits = said.reshape(len(said), *head.bins.shape)
        return (jnp.exp(head.bins.log_probabilities(logits)) * head.bins.centres).sum(axis=-1)
    raise ValueError(
        f"head {type(head).__name__} is from elsewhere, and what its action's slope is nobody "
        f"knows; explain a model of a head of this package"
    )
