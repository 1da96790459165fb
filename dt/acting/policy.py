"""How does a trained model act? Ask for a return, then act and observe, a batch at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dt.acting.options import AS_TRAINED, ActingOptions
from dt.acting.request_map import RequestMap
from dt.data.batches.windows import Action, Batch, Observation
from dt.data.episodes import Episode
from dt.model.decision_transformer import DecisionTransformer, Moment, abstract_model
from dt.model.heads import CategoricalReturnHead, ExpectileReturnHead, ReturnChoice
from dt.model.transformer import RingCache
from dt.model.window_cache import Window
from dt.parallel.rows import bound_to
from dt.spaces.records import leaves, to_records
from dt.spec.spec import PolicySpec


class PolicyState(NamedTuple):
    """What a batch of running episodes remembers; every row has its own clock."""

    cache: RingCache | Window
    timestep: Int[Array, " B"]  # of the next observation
    return_to_go: Float[Array, " B"]  # still asked for, in the environment's units
    previous_action: Action  # (B, ...), in the model's units
    seed: Any  # (B,) uint32; decides an episode's sampled actions, whatever row it runs in


class ReturnConditionedPolicy:
    """A batch of agents, each steered by the return it is asked for.

    >>> policy.reset(target_returns=[50.0, 150.0])
    >>> actions = policy.act(observations)     # (2, ...), inside the action space
    >>> policy.observe(rewards)                # (2,), lowers what is still asked for

    The past of every row lies in a ring cache or, where the model's recipe has none, in a window of
    its last timesteps, so a step costs the same at any length.
    """

    def __init__(
        self,
        params: Any,
        spec: PolicySpec,
        options: ActingOptions = AS_TRAINED,
        request_map: RequestMap | None = None,
    ):
        """
        Args:
            options: how the policy acts.
            request_map: for calibrated options: targets are then returns to achieve, and what is
                asked for is what was measured to bring them.

        Raises:
            ValueError: for options that the model cannot follow, and for calibrated ones without a
                map or a map without them.
        """
        if options.calibrated != (request_map is not None):
            raise ValueError(
                f"calibrated is {options.calibrated} and the request map is {request_map}; give "
                f"both or neither, or load the policy from its run with load_policy"
            )
        self.params = params
        self.spec = spec
        self.options = options.of_model(spec)
        self.request_map = request_map
        self._shown: Batch | None = None  # before each row's episode, where the caller says what
        self._graph, _ = nnx.split(abstract_model(spec))
        # As a list: flattening the model's own tree at every step takes longer than a small model.
        self._weights, structure = jax.tree.flatten(params)

        def step(weights: list[Array], *rest: Any) -> tuple[Action, PolicyState]:
            return self.pure_step(jax.tree.unflatten(structure, weights), *rest)

        self._home = bound_to(self._weights[0])
        self._step = jax.jit(step, donate_argnums=1)
        self._begin = jax.jit(self.initial_state, static_argnums=0, out_shardings=self._home)
        self._state: PolicyState | None = None
        self._next_seed = 0

    def reset(
        self,
        target_returns: Float[np.ndarray, " B"] | list[float],
        *,
        seeds: Int[np.ndarray, " B"] | list[int] | None = None,
        where: Bool[np.ndarray, " B"] | None = None,
        goals: Any = None,
        prompts: Sequence[Episode] | None = None,
    ) -> None:
        """Start new episodes in the rows of `where` (all by default), asking for these returns.

        Args:
            seeds: of the sampled actions, one a row; by default 0, 1, 2, ... and for later
                episodes the numbers after those.
            goals: (B, *observation shape), what a model with prefix 'goal' shall end in; by default
                where that episode of the data ended whose return is nearest to what is asked for.
            prompts: B episodes that a model with prefix 'prompt' is shown the middles of; by
                default that of the same episode of the data.

        Raises:
            ValueError: for returns that are not finite, for rows that are not running, and for
                goals or prompts that the model has no place for.
        """
        targets = self.requests(target_returns)
        num_rows = len(targets)
        shown = self._prefixes(goals, prompts, num_rows)
        if self._state is None or len(self._state.timestep) != num_rows:
            if where is not None and not np.all(where):
                raise ValueError(
                    f"where resets some of {num_rows} rows, but no episodes of that many rows are "
                    f"running; reset all rows first"
                )
            self._state = self._begin(num_rows)
            where = None
        resets = np.ones(num_rows, bool) if where is None else np.array(where)
        if resets.shape != (num_rows,) or resets.dtype != bool:
            raise ValueError(
                f"where is {resets.dtype} of shape {resets.shape}; give one Boolean for each of "
                f"{num_rows} rows"
            )
        if seeds is not None:
            given = np.asarray(seeds)
            if given.shape != (num_rows,) or given.dtype.kind not in "iu" or (given < 0).any():
                raise ValueError(
                    f"seeds are {seeds}; give one whole number, 0 or more, for each of {num_rows} "
                    f"rows"
                )
        if resets.all():
            self._starting = np.zeros(num_rows, bool)
            self._targets = np.zeros(num_rows, np.float32)
            self._seeds = np.zeros(num_rows, np.uint32)
            self._rewards = np.zeros(num_rows, np.float32)
            self._timesteps = np.zeros(num_rows, np.int64)
        # Rows that go on keep what is pending for them: their rewards above all.
        new_seeds = self._next_seed + np.arange(num_rows) if seeds is None else np.asarray(seeds)
        self._next_seed += num_rows
        self._starting = self._starting | resets
        self._targets = np.where(resets, targets, self._targets)
        self._show(shown, resets)
        self._seeds = np.where(resets, new_seeds, self._seeds).astype(np.uint32)
        self._rewards = np.where(resets, 0, self._rewards).astype(np.float32)
        self._timesteps = np.where(resets, 0, self._timesteps)

    def another(self) -> ReturnConditionedPolicy:
        """The same for other rows: episodes of its own, with these weights and programs."""
        other = copy.copy(self)
        other._state = other._shown = None
        return other

    def act(self, observations: Any) -> Any:
        """Actions for a batch of observations, (B, *observation shape) -> (B, *action shape).

        Observations of a Dict or Tuple space are a tree of such arrays, as Gymnasium's vector
        environments have it, or records (see `dt.spaces.records`); actions of one are a tree.

        Raises:
            ValueError: as `begin_acting` does.
        """
        return self.begin_acting(observations)()

    def begin_acting(self, observations: Any) -> Callable[[], Any]:
        """`act` in two parts: the device computes while the caller does something else.

        Returns:
            What waits for the actions and gives them.

        Raises:
            ValueError: before a reset, for a shape that is not the space's, and past the longest
                timestep that the model has a position for.
        """
        if self._state is None:
            raise ValueError("act() before reset(): say which returns to ask for first")
        space = self.spec.observation_space
        try:
            observations = to_records(space, observations)
            shapes = [(leaf, leaf.of(observations).shape) for leaf in leaves(space)]
        except (KeyError, IndexError):
            raise ValueError(
                f"observations lack a part of {space}; give all of them, as Gymnasium's vector "
                f"environments do"
            ) from None
        for leaf, shape in shapes:
            expected = (len(self._timesteps), *leaf.shape)
            if shape != expected:
                name = f"observations/{leaf.name}" if leaf.name else "observations"
                raise ValueError(f"{name} have shape {shape}; this policy was reset for {expected}")
        longest = self._timesteps.max()
        if longest >= self.spec.max_timesteps:
            raise ValueError(
                f"timestep {longest} is past the longest this model knows, "
                f"{self.spec.max_timesteps}; end the episode there, or train with a larger "
                f"--model.max-timesteps"
            )
        encoded = self.spec.encode_observation(observations)
        actions, self._state = self._step(
            self._weights,
            self._state,
            encoded,
            self._rewards,
            (self._starting, self._targets, self._seeds),
            self._shown,
        )
        self._starting = np.zeros_like(self._starting)
        self._rewards = np.zeros_like(self._rewards)
        self._timesteps = self._timesteps + 1
        return lambda: self.spec.decode_action(Action(*map(np.asarray, actions)))

    @property
    def returns_to_go(self) -> Float[np.ndarray, " B"]:
        """What was still asked for at the last action, a number a row, in the units of targets."""
        if self._state is None:
            raise ValueError("returns_to_go before reset(): nothing has been asked for yet")
        return np.asarray(self._state.return_to_go)

    def observe(self, rewards: np.ndarray, actions: Any = None) -> None:
        """The rewards that the last actions brought; they are subtracted from the returns.

        Args:
            rewards: (B,).
            actions: (B, *action shape), where others were taken than `act` chose: the model's
                past then holds those.
        """
        rewards = np.asarray(rewards, np.float32)
        if self._state is None or rewards.shape != self._rewards.shape:
            raise ValueError(
                f"rewards have shape {rewards.shape}; give one for each row that was reset"
            )
        received = self.spec.transforms.rewards_while_playing(rewards.astype(np.float64))
        self._rewards = self._rewards + received.astype(np.float32)
        if actions is not None:
            taken = self.spec.encode_action(to_records(self.spec.action_space, actions))
            previous_action = Action(*jax.device_put(taken, self._home))
            self._state = self._state._replace(previous_action=previous_action)

    def requests(self, target_returns: Any) -> Float[np.ndarray, " B"]:
        """What the model is asked for, that these returns be achieved.

        Raises:
            ValueError: for returns that are not finite.
        """
        targets = np.asarray(target_returns, np.float32)
        if targets.ndim != 1 or not np.isfinite(targets).all():
            raise ValueError(f"target_returns are {target_returns}; give one finite number a row")
        if self.request_map is not None:
            targets = self.request_map.request_for(targets).astype(np.float32)
        return targets

    def expected_returns(
        self, batch: Batch
    ) -> tuple[Float[np.ndarray, "B T K"], Float[np.ndarray, " K1"]]:
        """The probabilities of bins of each step's return-to-go before it is told, and their edges.

        Args:
            batch: as `dt.data.gather` cuts it, in the model's units; so are the edges.

        Raises:
            ValueError: where the model does not predict returns as bins.
        """
        if self.spec.layout.return_predictor is None or self.spec.model.return_head != "bins":
            raise ValueError(
                f"layout {self.spec.layout} with return head {self.spec.model.return_head} "
                f"predicts no bins; train with --model.layout observation-return-action"
            )
        model = nnx.merge(self._graph, self.params)
        head = model.return_head
        assert isinstance(head, CategoricalReturnHead)

        def probabilities(batch: Batch) -> Array:
            expected: Any = model.predictions(batch)[1]
            return head.probabilities(expected)

        expected = jax.jit(probabilities)(batch)
        return np.asarray(expected), head.bins.array[0]

    def initial_state(self, batch_size: int) -> PolicyState:
        """Rows that have not started; `pure_step` starts those that it is told to."""
        model = abstract_model(self.spec)
        return PolicyState(
            cache=model.init_cache(batch_size, self.options.recompute),
            timestep=jnp.zeros(batch_size, jnp.int32),
            return_to_go=jnp.zeros(batch_size, jnp.float32),
            previous_action=Action(*map(jnp.asarray, self.spec.no_action(batch_size))),
            seed=jnp.zeros(batch_size, jnp.uint32),
        )

    @property
    def bytes_a_row(self) -> int:
        """Of memory on the device that each row takes while it acts, roughly and rather too many.

        What it remembers, before and after a step; and where a window is computed anew, what
        passes between the parts of one block.
        """
        state = jax.eval_shape(lambda: self.initial_state(1))
        remembered = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
        model, computed = self.spec.model, 0
        if isinstance(state.cache, Window):
            tokens = model.context_length * self.spec.layout.tokens_per_step
            computed = 4 * tokens * (12 * model.width + 2 * model.num_heads * tokens)
        return 2 * remembered + computed

    def _left(self, return_to_go: Any, reward: Any) -> Any:
        """R_{t+1} = (R_t - r_t) / discount: the recursion of the training data, turned around."""
        return (return_to_go - reward) / self.spec.transforms.discount

    def pure_step(
        self,
        params: Any,
        state: PolicyState,
        observation: Observation,
        reward: Float[Array, " B"],
        start: tuple[Bool[Array, " B"], Float[Array, " B"], Array],
        shown: Batch | None = None,
    ) -> tuple[Action, PolicyState]:
        """Reset the rows that start, act in all: one program for every step of every episode.

        Args:
            observation: (B, ...), in the model's units.
            reward: of the last action, in the units of targets; ignored where rows start.
            start: which rows start, what they are asked for (`requests`), and their seeds.
            shown: (B, P, ...) what rows that start are shown before their episode, where the model
                has a place for it; by default of the data's episode of the nearest return.

        Returns:
            Actions in the model's units.
        """
        resets, targets, seeds = start
        timestep = jnp.where(resets, 0, state.timestep)
        return_to_go = jnp.where(resets, targets, self._left(state.return_to_go, reward))
        seed = jnp.where(resets, seeds, state.seed)

        model = nnx.merge(self._graph, params)
        past = model.begin(state.cache, resets, shown or partial(self._nearest, targets))
        moment = Moment(
            previous_action=state.previous_action,
            observation=observation,
            return_to_go=self._asked(return_to_go),
            timestep=timestep,
            previous_return=self._asked(state.return_to_go),
        )
        is_null = jnp.full(len(timestep), self.options.null)
        keys = jax.vmap(lambda s, t: jax.random.fold_in(jax.random.key(s), t))(seed, timestep)
        choose = None
        if self.options.expert is not None:
            choose = partial(self._chosen, model, keys)
        prediction, cache, asked = model.step(moment, is_null, past, choose)
        if self.options.expert is not None:
            return_to_go = self.spec.return_normalizer.invert(asked)
        action = jax.vmap(lambda p, k: model.head.act(p, k, self.options.sampling))(
            prediction, keys
        )
        return action, PolicyState(cache, timestep + 1, return_to_go, action, seed)

    def _prefixes(
        self, goals: Any, prompts: Sequence[Episode] | None, num_rows: int
    ) -> Batch | None:
        """What the caller wants rows to be shown, in the model's units."""
        spec, kind = self.spec, self.spec.model.prefix
        for name, given in (("goal", goals), ("prompt", prompts)):
            if given is not None and kind != name:
                raise ValueError(
                    f"{name}s are given, but this model has prefix {kind!r}; train one with "
                    f"--model.prefix {name}"
                )
        if goals is not None:
            shown = spec.goals(to_records(spec.observation_space, goals))
        elif prompts is not None:
            shown = spec.prompts(prompts)
        else:
            return None
        if len(shown.timesteps) != num_rows:
            raise ValueError(f"{len(shown.timesteps)} {kind}s are given for {num_rows} rows")
        return shown

    def _show(self, shown: Batch | None, resets: Bool[np.ndarray, " B"]) -> None:
        """Keep what rows that start are shown; where the caller does not say, the data's."""
        if shown is None and (self._shown is None or resets.all()):
            self._shown = None  # found while the rows begin
            return
        shown = jax.tree.map(np.asarray, self._nearest(self._targets) if shown is None else shown)
        if self._shown is None or resets.all():
            self._shown = shown  # only rows that start look at theirs
            return
        self._shown = jax.tree.map(
            lambda new, old: np.where(resets.reshape(-1, *[1] * (old.ndim - 1)), new, old),
            shown,
            self._shown,
        )

    def _nearest(self, targets: Any) -> Batch:
        """What is shown of those of the data's episodes whose returns are nearest to these."""
        returns, batch = self.spec.exemplar_batch
        nearest = jnp.abs(jnp.asarray(targets)[:, None] - returns).argmin(axis=1)
        return jax.tree.map(lambda x: jnp.asarray(x)[nearest], batch)

    def _asked(self, return_to_go: Float[Array, " B"]) -> Float[Array, " B"]:
        """In the model's units. An agent that got more than it was asked for, or is asked for more
        than the data holds, sees the nearest return that the data does hold."""
        lowest, highest = self.spec.return_range
        kept = jnp.clip(return_to_go, lowest, highest if self.options.clip else None)
        return self.spec.return_normalizer(kept)

    def _chosen(self, model: DecisionTransformer, keys: Array, expected: Array) -> Array:
        """Returns to ask for, one of each row's own expectation and key."""
        head, choice = model.return_head, self.options.expert or ReturnChoice()
        if isinstance(head, ExpectileReturnHead):
            return head.choose(expected)
        # Folded once more: the key itself draws the action.
        return jax.vmap(lambda e, key: head.choose(e, jax.random.fold_in(key, 1), choice))(
            expected, keys
        )
