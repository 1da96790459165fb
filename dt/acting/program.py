"""The pure program of a policy: one step of a batch of episodes as a function of its state.

The host (`dt.acting.policy`), play on the device (`dt.acting.lanes`) and the exported file
(`dt.checkpoint.export`) all run this step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, UInt32

from dt.acting.exemplars import nearest_exemplars
from dt.acting.options import ActingOptions
from dt.acting.steering import UNSTEERED, Held, Steering
from dt.data.batches.windows import Action, Batch, Observation
from dt.model.decision_transformer import DecisionTransformer, abstract_model
from dt.model.heads import CategoricalReturnHead, ExpectileReturnHead, ReturnChoice
from dt.model.heads.action import Prediction
from dt.model.params import Params
from dt.model.points import Points
from dt.model.recomputed_window import Moment, RecomputedWindow
from dt.model.ring_cache import RingCache
from dt.spec.spec import PolicySpec

Rows = TypeVar("Rows")  # a tree of arrays of B rows each


class PolicyState(NamedTuple):
    """What a batch of running episodes remembers; every row has its own clock."""

    cache: RingCache | RecomputedWindow
    timestep: Int[Array, " B"]  # of the next observation
    return_to_go: Float[Array, " B"]  # still asked for, in the environment's units
    previous_action: Action  # (B, ...), in the model's units
    seed: UInt32[Array, " B"]  # decides an episode's sampled actions, whatever row it runs in
    # ActingOptions.guidance_numbers of the row's episode; None where nothing is guided. The cache
    # then has 2 B rows: B that see the return, and the same B that see the null token.
    guidance: Float[Array, "B 3"] | None = None
    held: Held | None = None  # of inputs that steering freezes


class Start(NamedTuple):
    """Which rows begin an episode at a step, and how; of others the numbers are ignored."""

    rows: Bool[Array | np.ndarray, " B"]
    requests: Float[Array | np.ndarray, " B"]  # the returns that are asked for
    seeds: UInt32[Array | np.ndarray, " B"]  # of the sampled actions
    guidance: Float[Array | np.ndarray, "B 3"] | None = None  # None: what the options say


@dataclass(frozen=True, eq=False)
class PolicyProgram:
    """Functions of weights and state alone, to be compiled wherever a policy acts."""

    spec: PolicySpec
    options: ActingOptions
    guides_each_row: bool = False  # by weights of its own, which `Start` brings
    steering: Steering = UNSTEERED  # its edits are made here; what else it has, the policy heeds

    @property
    def is_guided(self) -> bool:
        """Whether each step takes two passes; a weight that is always 0 or 1 takes one."""
        weight, enough, _ = self.options.guidance_numbers
        return self.guides_each_row or not (weight == enough and weight in (0.0, 1.0))

    @property
    def _guidance_of_options(self) -> Float[Array, " 3"]:
        return jnp.array(self.options.guidance_numbers, jnp.float32)

    @cached_property
    def _model(self) -> DecisionTransformer:
        """The model with shapes in place of weights, as these options have it act."""
        model = abstract_model(self.spec)
        model.embed.clamps_timesteps = self.options.past_end == "clamp"
        if self.is_guided and not model.head.is_guidable:
            raise ValueError(
                f"model.head {self.spec.model.head} cannot be guided: it has no method `guide`; "
                f"leave guidance out"
            )
        return model

    @cached_property
    def graph(self) -> nnx.GraphDef[DecisionTransformer]:
        """The model without its weights."""
        return nnx.split(self._model)[0]

    def initial_state(self, batch_size: int) -> PolicyState:
        """Make the state of rows that have not started; `step` starts those that it is told to."""
        passes, guidance = 1, None
        if self.is_guided:
            passes, guidance = 2, jnp.tile(self._guidance_of_options, (batch_size, 1))
        return PolicyState(
            cache=self._model.init_cache(passes * batch_size, self.options.recompute),
            timestep=jnp.zeros(batch_size, jnp.int32),
            return_to_go=jnp.zeros(batch_size, jnp.float32),
            previous_action=Action(*map(jnp.asarray, self.spec.codec.no_action(batch_size))),
            seed=jnp.zeros(batch_size, jnp.uint32),
            guidance=guidance,
            held=self.steering.nothing_held(self.spec.codec, batch_size),
        )

    def step(
        self,
        params: Params,
        state: PolicyState,
        observation: Observation,
        reward: Float[Array, " B"],
        start: Start,
        prefixes: Batch | None = None,
    ) -> tuple[Action, PolicyState]:
        """Reset the rows that start, act in all: one program for every step of every episode.

        Args:
            observation: (B, ...), in the model's units.
            reward: of the last action, in the units of targets; ignored where rows start.
            prefixes: (B, P, ...) what stands before the episodes of rows that start, where the
                model has a place for it; by default of the data's episode of the nearest return.

        Returns:
            Actions in the model's units, and the state after them.
        """
        # R_{t+1} = (R_t - r_t) / discount: the recursion of the training data, turned around.
        remaining = (state.return_to_go - reward) / self.spec.transforms.discount
        timestep = jnp.where(start.rows, 0, state.timestep)
        return_to_go = jnp.where(start.rows, start.requests, remaining)
        seed = jnp.where(start.rows, start.seeds, state.seed)
        guidance = self._guidance(state, start)

        model = nnx.merge(self.graph, params)
        shown = partial(nearest_exemplars, self.spec, start.requests)
        past = model.begin(
            state.cache,
            self._in_passes(jnp.asarray(start.rows)),
            lambda: self._in_passes(shown() if prefixes is None else prefixes),
        )
        moment = Moment(
            previous_action=state.previous_action,
            observation=observation,
            return_to_go=self._normalized(return_to_go),
            timestep=timestep,
            previous_return=self._normalized(state.return_to_go),
        )
        is_null = jnp.full(len(timestep), self.options.null or self.options.guidance == 0)
        if self.is_guided:
            is_null = jnp.concatenate([jnp.zeros_like(is_null), jnp.ones_like(is_null)])
        keys = jax.vmap(lambda s, t: jax.random.fold_in(jax.random.key(s), t))(seed, timestep)
        choose = None
        if self.options.expert is not None:
            choose = partial(self._choose_return, model, keys)
        held = self.steering.held(state.held, moment)
        points = None
        if self.steering.edits:
            changes = self.steering.changes(self._in_passes(held))
            points = Points(do=changes, rows=self._in_passes(seed))
        prediction, cache, chosen_return = model.step(
            self._in_passes(moment), is_null, past, choose, points
        )
        if self.options.expert is not None:
            chosen_return = chosen_return[: len(timestep)]
            return_to_go = self.spec.return_normalizer.invert(chosen_return)
        if guidance is not None:
            weight = self._weight(guidance, return_to_go)
            prediction = _guided(model, prediction, weight)
        sampling = self.options.sampling
        action = jax.vmap(lambda p, k: model.head.act(p, k, sampling))(prediction, keys)
        return action, PolicyState(cache, timestep + 1, return_to_go, action, seed, guidance, held)

    def _in_passes(self, rows: Rows) -> Rows:
        """Repeat the rows of all arrays where each takes two passes: with the return, and null."""
        if not self.is_guided:
            return rows
        return jax.tree.map(lambda x: jnp.concatenate([x, x]), rows)

    def _guidance(self, state: PolicyState, start: Start) -> Float[Array, "B 3"] | None:
        """The weights of every row's episode: its own, or what the options say."""
        if state.guidance is None:
            return None
        begins = self._guidance_of_options if start.guidance is None else start.guidance
        return jnp.where(jnp.asarray(start.rows)[:, None], begins, state.guidance)

    def _weight(
        self, guidance: Float[Array, "B 3"], return_to_go: Float[Array, " B"]
    ) -> Float[Array, " B"]:
        """The weight at this step, by whether all that was asked for has come."""
        weight, enough, below = guidance.T
        highest = self.spec.return_range[1]
        if highest <= 0:
            return weight
        return jnp.where(return_to_go < below * highest, enough, weight)

    @property
    def bytes_per_row(self) -> int:
        """Of memory on the device that each row takes while it acts, roughly and rather too many.

        What it remembers, before and after a step; and where a window is computed anew, what
        passes between the parts of one block.
        """
        state = jax.eval_shape(lambda: self.initial_state(1))
        remembered = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
        model, computed = self.spec.model, 0
        if isinstance(state.cache, RecomputedWindow):
            tokens = model.context_length * self.spec.layout.tokens_per_step
            passes = 2 if self.is_guided else 1
            computed = passes * 4 * tokens * (12 * model.width + 2 * model.num_heads * tokens)
        return 2 * remembered + computed

    def return_probabilities(
        self, params: Params, batch: Batch
    ) -> tuple[Float[Array, "B T K"], Float[Array, " K1"]]:
        """Predict bins of each step's return-to-go before it is shown: probabilities, and edges.

        Args:
            batch: (B, T, ...), in the model's units; so are the edges.

        Raises:
            ValueError: where the model does not predict returns as bins.
        """
        if self.spec.layout.return_predictor is None or self.spec.model.return_head != "bins":
            raise ValueError(
                f"layout {self.spec.layout} with return head {self.spec.model.return_head} "
                f"predicts no bins; train with --model.layout observation-return-action"
            )
        model = nnx.merge(self.graph, params)
        head, expected = model.return_head, model.predictions(batch)[1]
        assert isinstance(head, CategoricalReturnHead) and expected is not None
        return head.probabilities(expected), jnp.asarray(head.bins.array[0])

    def _normalized(self, return_to_go: Float[Array, " B"]) -> Float[Array, " B"]:
        """Change returns to the model's units. An agent that got more than it was asked for, or is
        asked for more than the data holds, sees the nearest return that the data does hold."""
        lowest, highest = self.spec.return_range
        kept = jnp.clip(return_to_go, lowest, highest if self.options.clip else None)
        return self.spec.return_normalizer(kept)

    def _choose_return(self, model: DecisionTransformer, keys: Array, expected: Array) -> Array:
        """Choose the returns to ask for, each by its row's own expectation and key."""
        head, choice = model.return_head, self.options.expert or ReturnChoice()
        if isinstance(head, ExpectileReturnHead):
            return head.choose(expected)
        # Folded once more: the key itself draws the action.
        # Only rows that see the return choose it; the others' choice is hidden from them.
        chosen = jax.vmap(lambda e, key: head.choose(e, jax.random.fold_in(key, 1), choice))(
            expected[: len(keys)], keys
        )
        # Drawn from what is not finite it would be a return like any other.
        sound = jnp.isfinite(expected[: len(keys)]).all(axis=-1)
        return self._in_passes(jnp.where(sound, chosen, jnp.nan))


def _guided(model: DecisionTransformer, both: Prediction, weight: Float[Array, " B"]) -> Prediction:
    """Draw apart the predictions of rows that see the return, and of the same that do not."""
    count = len(weight)
    told, untold = (
        jax.tree.map(lambda x, half=half: x[half], both)
        for half in (slice(None, count), slice(count, None))
    )
    return model.head.guide(told, untold, weight)
