"""A policy on the host: ask for a return, then act and observe, a batch of episodes at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from dt.acting.exemplars import given_prefixes, nearest_exemplars, replace_rows
from dt.acting.options import AS_TRAINED, ActingOptions
from dt.acting.program import Params, PolicyProgram, PolicyState, Start
from dt.acting.request_map import RequestMap
from dt.data.batches.windows import Action, Batch, Observation
from dt.data.episodes import Episode
from dt.parallel.rows import bound_to
from dt.spaces.arrays import Tree
from dt.spaces.parts import leaves
from dt.spaces.records import to_records
from dt.spec.spec import PolicySpec


class _Pending(NamedTuple):
    """What each row brings to the next step."""

    starting: Bool[np.ndarray, " B"]
    requests: Float[np.ndarray, " B"]  # of rows that start
    seeds: UInt32[np.ndarray, " B"]
    rewards: Float[np.ndarray, " B"]  # since the last step, in the units of targets
    timesteps: Int[np.ndarray, " B"]  # of the next observation

    @classmethod
    def empty(cls, num_rows: int) -> _Pending:
        return cls(
            starting=np.zeros(num_rows, bool),
            requests=np.zeros(num_rows, np.float32),
            seeds=np.zeros(num_rows, np.uint32),
            rewards=np.zeros(num_rows, np.float32),
            timesteps=np.zeros(num_rows, np.int64),
        )

    def started(
        self,
        rows: Bool[np.ndarray, " B"],
        requests: Float[np.ndarray, " B"],
        seeds: Int[np.ndarray, " B"],
    ) -> _Pending:
        """Start episodes in these rows; others keep what is pending, their rewards above all."""
        return _Pending(
            starting=self.starting | rows,
            requests=np.where(rows, requests, self.requests),
            seeds=np.where(rows, seeds, self.seeds).astype(np.uint32),
            rewards=np.where(rows, 0, self.rewards).astype(np.float32),
            timesteps=np.where(rows, 0, self.timesteps),
        )

    def acted(self) -> _Pending:
        """What is left once a step has been taken."""
        return self._replace(
            starting=np.zeros_like(self.starting),
            rewards=np.zeros_like(self.rewards),
            timesteps=self.timesteps + 1,
        )


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
        params: Params,
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
        self.program = program = PolicyProgram(spec, self.options)
        # As a list: flattening the model's own tree at every step takes longer than a small model.
        self._weights, structure = jax.tree.flatten(params)

        def step(
            weights: list[Array],
            state: PolicyState,
            observation: Observation,
            reward: Float[Array, " B"],
            start: Start,
            prefixes: Batch | None,
        ) -> tuple[Action, PolicyState]:
            params = jax.tree.unflatten(structure, weights)
            return program.step(params, state, observation, reward, start, prefixes)

        self._device = bound_to(self._weights[0])
        self._step = jax.jit(step, donate_argnums=1)
        self._begin = jax.jit(program.initial_state, static_argnums=0, out_shardings=self._device)
        self._state: PolicyState | None = None
        self._pending = _Pending.empty(0)
        self._prefixes: Batch | None = None  # of each row's episode, where the caller says which
        self._next_seed = 0

    def reset(
        self,
        target_returns: Float[np.ndarray, " B"] | list[float],
        *,
        seeds: Int[np.ndarray, " B"] | list[int] | None = None,
        where: Bool[np.ndarray, " B"] | None = None,
        goals: Tree | None = None,
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
        requests = self.requests(target_returns)
        num_rows = len(requests)
        prefixes = given_prefixes(self.spec, goals, prompts, num_rows)
        is_running = self._state is not None and len(self._pending.timesteps) == num_rows
        rows = _rows_to_reset(where, num_rows, is_running)
        _check_seeds(seeds, num_rows)
        if not is_running:
            self._state = self._begin(num_rows)
        new_seeds = self._next_seed + np.arange(num_rows) if seeds is None else np.asarray(seeds)
        self._next_seed += num_rows
        pending = _Pending.empty(num_rows) if rows.all() else self._pending
        self._pending = pending.started(rows, requests, new_seeds)
        self._keep_prefixes(prefixes, rows)

    def another(self) -> ReturnConditionedPolicy:
        """Make the same for other rows: episodes of its own, with these weights and programs."""
        other = copy.copy(self)
        other._state = other._prefixes = None
        return other

    def act(self, observations: Tree) -> Tree:
        """Choose actions for observations, (B, *observation shape) -> (B, *action shape).

        Observations of a Dict or Tuple space are a tree of such arrays, as Gymnasium's vector
        environments have it, or records (see `dt.spaces.records`); actions of one are a tree.

        Raises:
            ValueError: as `begin_acting` does.
        """
        return self.begin_acting(observations)()

    def begin_acting(self, observations: Tree) -> Callable[[], Tree]:
        """Do `act` in two parts: the device computes while the caller does something else.

        Returns:
            What waits for the actions and gives them.

        Raises:
            ValueError: before a reset, for a shape that is not the space's, and past the longest
                timestep that the model has a position for.
        """
        if self._state is None:
            raise ValueError("act() before reset(): say which returns to ask for first")
        pending = self._pending
        records = self._records(observations)
        longest = pending.timesteps.max()
        if longest >= self.spec.max_timesteps:
            raise ValueError(
                f"timestep {longest} is past the longest this model knows, "
                f"{self.spec.max_timesteps}; end the episode there, or train with a larger "
                f"--model.max-timesteps"
            )
        actions, self._state = self._step(
            self._weights,
            self._state,
            self.spec.codec.encode_observation(records),
            pending.rewards,
            Start(pending.starting, pending.requests, pending.seeds),
            self._prefixes,
        )
        self._pending = pending.acted()
        return lambda: self.spec.codec.decode_action(Action(*map(np.asarray, actions)))

    @property
    def returns_to_go(self) -> Float[np.ndarray, " B"]:
        """What was still asked for at the last action, a number a row, in the units of targets."""
        if self._state is None:
            raise ValueError("returns_to_go before reset(): nothing has been asked for yet")
        return np.asarray(self._state.return_to_go)

    def observe(self, rewards: np.ndarray, actions: Tree | None = None) -> None:
        """Subtract the rewards that the last actions brought from the returns.

        Args:
            rewards: (B,), the environment's.
            actions: (B, *action shape), where others were taken than `act` chose: the model's
                past then holds those.

        Raises:
            ValueError: for another number of rewards than of rows.
        """
        rewards, pending = np.asarray(rewards, np.float32), self._pending
        if self._state is None or rewards.shape != pending.rewards.shape:
            raise ValueError(
                f"rewards have shape {rewards.shape}; give one for each row that was reset"
            )
        received = self.spec.transforms.rewards_while_playing(rewards.astype(np.float64))
        self._pending = pending._replace(rewards=pending.rewards + received.astype(np.float32))
        if actions is not None:
            taken = self.spec.codec.encode_action(to_records(self.spec.action_space, actions))
            previous_action = Action(*jax.device_put(taken, self._device))
            self._state = self._state._replace(previous_action=previous_action)

    def requests(
        self, target_returns: Float[np.ndarray, " B"] | list[float]
    ) -> Float[np.ndarray, " B"]:
        """Find what the model is asked for, that these returns be achieved.

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
        """Predict each step's return-to-go before it is shown: probabilities of bins, and edges.

        Args:
            batch: as `dt.data.gather` cuts it, in the model's units; so are the edges.

        Raises:
            ValueError: where the model does not predict returns as bins.
        """
        predict = jax.jit(lambda batch: self.program.return_probabilities(self.params, batch))
        probabilities, edges = predict(batch)
        return np.asarray(probabilities), np.asarray(edges)

    def _records(self, observations: Tree) -> np.ndarray:
        """Check observations of all rows, and lay them out as the spec reads them."""
        space = self.spec.observation_space
        try:
            records = to_records(space, observations)
            shapes = [(leaf, leaf.of(records).shape) for leaf in leaves(space)]
        except (KeyError, IndexError):
            raise ValueError(
                f"observations lack a part of {space}; give all of them, as Gymnasium's vector "
                f"environments do"
            ) from None
        for leaf, shape in shapes:
            expected = (len(self._pending.timesteps), *leaf.shape)
            if shape != expected:
                name = f"observations/{leaf.name}" if leaf.name else "observations"
                raise ValueError(f"{name} have shape {shape}; this policy was reset for {expected}")
        return records

    def _keep_prefixes(self, given: Batch | None, rows: Bool[np.ndarray, " B"]) -> None:
        """Keep those of rows that start; where the caller gives none, the data's."""
        if given is None and (self._prefixes is None or rows.all()):
            self._prefixes = None  # found while the rows begin
            return
        if given is None:
            given = nearest_exemplars(self.spec, self._pending.requests)
        given = jax.tree.map(np.asarray, given)
        if self._prefixes is None or rows.all():
            self._prefixes = given  # only rows that start look at theirs
        else:
            self._prefixes = replace_rows(self._prefixes, given, rows)


def _rows_to_reset(
    where: Bool[np.ndarray, " B"] | None, num_rows: int, is_running: bool
) -> Bool[np.ndarray, " B"]:
    """The rows that begin: all of them where no episodes of that many are running."""
    if not is_running:
        if where is not None and not np.all(where):
            raise ValueError(
                f"where resets some of {num_rows} rows, but no episodes of that many rows are "
                f"running; reset all rows first"
            )
        where = None
    rows = np.ones(num_rows, bool) if where is None else np.array(where)
    if rows.shape != (num_rows,) or rows.dtype != bool:
        raise ValueError(
            f"where is {rows.dtype} of shape {rows.shape}; give one Boolean for each of "
            f"{num_rows} rows"
        )
    return rows


def _check_seeds(seeds: Int[np.ndarray, " B"] | list[int] | None, num_rows: int) -> None:
    if seeds is None:
        return
    given = np.asarray(seeds)
    if given.shape != (num_rows,) or given.dtype.kind not in "iu" or (given < 0).any():
        raise ValueError(
            f"seeds are {seeds}; give one whole number, 0 or more, for each of {num_rows} rows"
        )
