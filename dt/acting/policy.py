"""A policy on the host: ask for a return, then act and observe, a batch of episodes at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dt.acting.ask_table import AskTable, check_measured
from dt.acting.batch_axis import (
    Numbers,
    as_numbers,
    number_a_row,
    observation_records,
    with_axis,
    without_axis,
)
from dt.acting.describe import describe_policy
from dt.acting.exemplars import given_prefixes, nearest_exemplars, replace_rows
from dt.acting.inputs import Inputs
from dt.acting.options import AS_TRAINED, ActingOptions
from dt.acting.pending import Pending, check_seeds, chosen_rows, rows_to_reset
from dt.acting.program import PolicyProgram, PolicyState, Start
from dt.acting.request_map import RequestMap
from dt.acting.steering import Steering, steering_of
from dt.data.batches.windows import Action, Batch, Observation
from dt.data.episodes import Episode
from dt.model.params import Params
from dt.parallel.rows import bound_to
from dt.spaces.arrays import Tree
from dt.spaces.records import to_records
from dt.spec.spec import PolicySpec


class ReturnConditionedPolicy:
    """A batch of agents, each steered by the return it is asked for.

    >>> policy.reset(target_returns=[50.0, 150.0])
    >>> actions = policy.act(observations)     # (2, ...), inside the action space
    >>> policy.observe(rewards)                # (2,), lowers what is still asked for
    >>> policy.ask([80.0, 20.0])               # of what is still to come, from the next action on

    Reset with one number, it acts in one environment: observations, actions and rewards then have
    no batch axis.

    The past of every row lies in a ring cache or, where the model's recipe has none, in a window of
    its last timesteps, so a step costs the same at any length.

    A policy can be pickled and copied (`pickle`, `copy.copy`, `copy.deepcopy`): the copy goes on
    with the episodes that are running, from the same step, and what either does then is nothing to
    the other. A copy shares weights and compiled programs; one that was pickled compiles its own
    when it first acts, on the first device of its process.
    """

    def __init__(
        self,
        params: Params,
        spec: PolicySpec,
        options: ActingOptions = AS_TRAINED,
        request_map: RequestMap | AskTable | None = None,
        guides_each_row: bool = False,
        steering: Steering | None = None,
    ):
        """
        Args:
            options: how the policy acts.
            guides_each_row: `reset` takes weights of guidance of each row's own.
            request_map: what was measured to bring targets, for calibrated or asked options.
            steering: what it acts by beside options and weights, as `load_policy` brings it.

        Raises:
            ValueError: for what the model cannot follow, and as `check_measured`.
        """
        check_measured(options, request_map)
        self.params = params
        self.spec = spec
        self.options = options.of_model(spec)
        self.request_map = request_map
        self.guides_each_row = guides_each_row or options.asked
        self.steering = steering_of(steering, options.steer, spec)
        self._state: PolicyState | None = None
        self._pending = Pending.empty(0)
        self._prefixes: Batch | None = None  # of each row's episode, where the caller says which
        self._next_seed = 0
        self._is_single = False  # whether it was reset for one environment, without a batch axis
        self._prepare()

    def _prepare(self) -> None:
        """Make the programs, which compile when they are first called."""
        program = self.program = PolicyProgram(
            self.spec, self.options, self.guides_each_row, self.steering
        )
        # As a list: flattening the model's own tree at every step takes longer than a small model.
        self._weights, structure = jax.tree.flatten(self.params)

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

    def reset(
        self,
        target_returns: Numbers,
        *,
        seeds: Int[np.ndarray, " B"] | list[int] | int | None = None,
        where: Bool[np.ndarray, " B"] | None = None,
        goals: Tree | None = None,
        prompts: Sequence[Episode] | Episode | None = None,
        guidance: Float[np.ndarray, "B 3"] | None = None,
    ) -> None:
        """Start new episodes in the rows of `where` (all by default), asking for these returns.

        Args:
            target_returns: (B,), or one number for one environment: its seed, goal and prompt then
                stand alone too.
            seeds: of the sampled actions, one a row; by default 0, 1, 2, ... and for later
                episodes the numbers after those.
            goals: (B, *observation shape), what a model with prefix 'goal' shall end in; by default
                where that episode of the data ended whose return is nearest to what is asked for.
            prompts: B episodes that a model with prefix 'prompt' is shown the middles of; by
                default that of the same episode of the data.
            guidance: each row's `ActingOptions.guidance_numbers`, for a policy that was made to
                guide each row by its own; by default those of the options.

        Raises:
            ValueError: for returns that are not finite, for rows that are not running, for goals
                or prompts that the model has no place for, and for guidance of a policy that
                was not made for it.
        """
        is_single = np.ndim(target_returns) == 0
        if is_single:
            if where is not None:
                raise ValueError(
                    "where chooses among rows, but one number resets one environment; leave where "
                    "out, or give a list of returns"
                )
            target_returns = np.asarray(target_returns)[None]
            seeds = None if seeds is None else np.asarray(seeds)[None]
            goals = None if goals is None else with_axis(self.spec.observation_space, goals)
        prompts = [prompts] if isinstance(prompts, Episode) else prompts
        requests, measured = self.inputs_for(np.asarray(target_returns))
        guidance = measured if guidance is None else guidance
        num_rows = len(requests)
        prefixes = given_prefixes(self.spec, goals, prompts, num_rows)
        is_running = is_single == self._is_single and self._num_running == num_rows
        rows = rows_to_reset(where, num_rows, is_running)
        check_seeds(seeds, num_rows)
        if guidance is not None and not self.guides_each_row:
            raise ValueError("guidance of each row needs a policy of guides_each_row=True")
        self._is_single = is_single
        if not is_running:
            self._state = self._begin(num_rows)
        new_seeds = self._next_seed + np.arange(num_rows) if seeds is None else np.asarray(seeds)
        self._next_seed += num_rows
        pending = Pending.empty(num_rows) if rows.all() else self._pending
        weights = self.options.guidance_numbers if guidance is None else guidance
        weights = np.broadcast_to(np.asarray(weights, np.float32), (num_rows, 3))
        self._pending = pending.started(rows, requests, new_seeds, weights)
        self._keep_prefixes(prefixes, rows)

    def ask(self, targets: Numbers, where: Bool[np.ndarray, " B"] | None = None) -> None:
        """Ask running episodes anew: from the next action on, these are the returns to go.

        What an episode has received so far does not count against its new target, which is of what
        is still to come; a reward that is observed after this call does count. The past stays as it
        was, with what was asked for in it. Targets are as `reset` takes them, with its units and
        its request map, and are ignored where those are.

        Args:
            targets: (B,), or one number for one environment.
            where: (B,), the rows to ask anew; all by default.

        Raises:
            ValueError: before a reset, for targets that are not finite, and for wrong shapes.
        """
        if self._state is None:
            raise ValueError("ask() before reset(): there is no episode to ask anything of yet")
        num_rows = self._num_running
        if self._is_single and where is not None:
            raise ValueError(
                "where chooses among rows, but this policy was reset with one number; leave it out"
            )
        rows = chosen_rows(where, num_rows)
        requests, guidance = self.inputs_for(
            number_a_row("targets", targets, num_rows, self._is_single)
        )
        if guidance is not None and self._state.guidance is not None:
            changed = jnp.where(rows[:, None], guidance, self._state.guidance)
            self._state = self._state._replace(guidance=changed.astype(jnp.float32))
        remaining, discount = np.asarray(self._state.return_to_go), self.spec.transforms.discount
        self._pending = self._pending.asked(rows, requests, remaining, discount)

    def another(self, params: Params | None = None) -> ReturnConditionedPolicy:
        """Make the same for other rows, with these programs, and other weights if given."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._state = other._prefixes = None
        if params is not None:
            other.params, other._weights = params, jax.tree.leaves(params)
        return other

    def __copy__(self) -> ReturnConditionedPolicy:
        other = self.another()
        # A step takes the memory of the state before it, so no two may have the same.
        other._state, other._prefixes = jax.tree.map(jnp.copy, self._state), self._prefixes
        return other

    def __deepcopy__(self, memo: dict[int, object]) -> ReturnConditionedPolicy:
        return self.__copy__()

    def __getstate__(self) -> dict[str, object]:
        made_anew = ("program", "_weights", "_device", "_step", "_begin")
        return {name: value for name, value in self.__dict__.items() if name not in made_anew}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._prepare()

    def __repr__(self) -> str:
        return describe_policy(self.spec, self.options, self.params)

    def act(self, observations: Tree) -> Tree:
        """Choose actions for observations, (B, *observation shape) -> (B, *action shape).

        Without the B where the policy was reset with one number.

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
                timestep that the model has a position for, where options say so.
        """
        if self._state is None:
            raise ValueError("act() before reset(): say which returns to ask for first")
        pending, spec, is_single = self._pending, self.spec, self._is_single
        space, num_rows = spec.observation_space, self._num_running
        records = observation_records(space, observations, num_rows, is_single)
        self.options.check_timestep(int(pending.timesteps.max()), spec.max_timesteps)
        actions, self._state = self._step(
            self._weights,
            self._state,
            spec.codec.encode_observation(records),
            pending.rewards,
            Start(pending.starting, pending.requests, pending.seeds, pending.guidance)
            if self.guides_each_row
            else Start(pending.starting, pending.requests, pending.seeds),
            self._prefixes,
        )
        self._pending = pending.acted()

        def chosen() -> Tree:
            decoded = spec.codec.decode_action(Action(*map(np.asarray, actions)))
            return without_axis(decoded) if is_single else decoded

        return chosen

    @property
    def returns_to_go(self) -> Float[np.ndarray, "*B"]:
        """What was still asked for at the last action, a number a row, in the units of targets."""
        if self._state is None:
            raise ValueError("returns_to_go before reset(): nothing has been asked for yet")
        remaining = np.asarray(self._state.return_to_go)
        return remaining.reshape(()) if self._is_single else remaining

    def observe(self, rewards: Numbers, actions: Tree | None = None) -> None:
        """Subtract the rewards that the last actions brought from the returns.

        Args:
            rewards: (B,), the environment's, or one number for one environment.
            actions: (B, *action shape), where others were taken than `act` chose: the model's
                past then holds those.

        Raises:
            ValueError: before a reset, and for another number of rewards than of rows.
        """
        if self._state is None:
            raise ValueError("observe() before reset(): no episode is running yet")
        pending, space = self._pending, self.spec.action_space
        given = number_a_row("rewards", rewards, self._num_running, self._is_single)
        received = self.spec.transforms.rewards_while_playing(given.astype(np.float64))
        self._pending = pending._replace(rewards=pending.rewards + received.astype(np.float32))
        if actions is not None:
            actions = with_axis(space, actions) if self._is_single else actions
            taken = self.spec.codec.encode_action(to_records(space, actions))
            previous_action = Action(*jax.device_put(taken, self._device))
            self._state = self._state._replace(previous_action=previous_action)

    def requests(
        self, target_returns: Float[np.ndarray, " B"] | list[float]
    ) -> Float[np.ndarray, " B"]:
        """Find the requests alone of `inputs_for`."""
        return self.inputs_for(target_returns).requests

    def inputs_for(self, target_returns: Float[np.ndarray, " B"] | list[float]) -> Inputs:
        """Find what the model is given, that these returns be achieved.

        Raises:
            ValueError: for returns that are not finite.
        """
        targets = as_numbers("target_returns", target_returns)
        if targets.ndim != 1 or not np.isfinite(targets).all():
            raise ValueError(f"target_returns are {target_returns}; give one finite number a row")
        if self.steering.request is not None:
            return Inputs(np.full(len(targets), self.steering.request, np.float32), None)
        if self.request_map is None:
            return Inputs(targets, None)
        requests, guidance = self.request_map.inputs_for(targets)
        return Inputs(requests.astype(np.float32), guidance)

    @property
    def _num_running(self) -> int:
        return 0 if self._state is None else len(self._pending.timesteps)

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
