"""Export a policy as one file that JAX alone can load and run.

    dt export RUN_DIR policy.npz

The file holds the policy's step as a program for several platforms (`jax.export`), the state that
episodes begin with, and, unless they are to lie beside it, the weights. To act with it:

    import jax.export, numpy as np
    file = np.load("policy.npz")
    step = jax.jit(jax.export.deserialize(bytearray(file["program"])).call)
    state = [file[f"state_{i}"] for i in range(file["num_state"])]
    # observations (B, ...), rewards of the last actions (B,), which rows begin an episode (B,),
    # which are asked anew (B,), what is asked for in both (B,), seeds of sampled actions where
    # rows begin (B,)
    actions, state = step(state, observations, rewards, begins, asks, targets, seeds)

A row that is asked anew goes on with its episode, and from this action on its target is what is
still to come: the reward that it brings to this step counts no more, the next ones do. It is
`policy.ask` before `policy.act`.

Past the last timestep that the model knows, file["max_timesteps"] - 1, a row's actions are NaN, or
-1 where they are integers: end its episode before. A policy of past_end='clamp' goes on there, at
that position.

Where observations have numbers that float32 rounds off, such as seconds since 1970, the program
takes them less file["origin_0"], of a Dict or Tuple origin_0, origin_1, ... in the order of
`jax.tree.leaves`: subtract these in the numbers that the environment gives.

With --weights beside, `policy.weights.npz` holds the arrays weight_0, weight_1, ..., and the list
of them is the step's first argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from jax import export

from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.program import Start
from dt.files import written_whole
from dt.spaces.arrays import Tree
from dt.spaces.records import build
from dt.spec.spec import PolicySpec

Platform = Literal["cpu", "cuda", "rocm", "tpu"]
PLATFORMS: tuple[Platform, ...] = ("cpu", "cuda", "tpu")


def export_policy(
    policy: ReturnConditionedPolicy,
    path: str | Path,
    *,
    batch_size: int = 1,
    beside: bool = False,
    platforms: tuple[str, ...] = PLATFORMS,
) -> list[Path]:
    """Write the policy's step; returns the files.

    Observations and actions are the environment's own arrays (or dicts and tuples of arrays), as
    `policy.act` takes and gives them, and rewards and targets are in its units.

    Raises:
        ValueError: for a policy that asks by a request map, which is no part of the program, and
            as `check_export`.
        TypeError: for what is no policy.
    """
    path = Path(path)
    check_export(path, batch_size)
    if not isinstance(policy, ReturnConditionedPolicy):
        raise TypeError(f"policy is {policy!r:.80}; give what run.policy() or dt.load_policy gives")
    if policy.request_map is not None:
        raise ValueError(
            "a request map or an ask table is not exported; load the policy without it"
        )
    leaves = jax.tree.leaves(policy.program.initial_state(batch_size))
    weights = jax.tree.leaves(policy.params)
    step = _step_of(policy)
    row = (np.float32, np.bool_, np.bool_, np.float32, np.uint32)  # rewards, begins, asks, ...
    shapes = [jax.ShapeDtypeStruct((batch_size,), dtype) for dtype in row]
    inputs = (_like(leaves), _shapes(policy.spec.observation_space, batch_size), *shapes)
    if beside:
        exported = export.export(jax.jit(step), platforms=platforms)(_like(weights), *inputs)
    else:
        inside = jax.jit(lambda *rest: step(weights, *rest))
        exported = export.export(inside, platforms=platforms)(*inputs)
    facts = {
        "program": np.frombuffer(bytes(exported.serialize()), np.uint8),
        "num_state": np.array(len(leaves)),
        "max_timesteps": np.array(policy.spec.max_timesteps),
    }
    state = {f"state_{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
    origins = {f"origin_{i}": leaf for i, leaf in enumerate(_origins_of(policy.spec))}
    _write(path, facts | state | origins)
    if not beside:
        return [path]
    file = path.with_suffix(".weights.npz")
    _write(file, {f"weight_{i}": np.asarray(leaf) for i, leaf in enumerate(weights)})
    return [path, file]


def check_export(path: Path, batch_size: int) -> None:
    """Refuse a file that cannot be written, and a batch of no rows.

    Raises:
        ValueError: naming the file or the number.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    if path.suffix != ".npz":
        raise ValueError(f"{path}: the file's name must end in .npz")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}; make it first")


def _step_of(policy: ReturnConditionedPolicy) -> Callable[..., tuple[Tree, list[jax.Array]]]:
    """The policy's step over lists of arrays, from the environment's units to its actions."""
    transforms, units = policy.spec.transforms, policy.spec.observation_normalizer
    # JAX's numbers have 32 bits: who calls the program has taken the origins off before.
    codec = replace(policy.spec.codec, observation_normalizer=replace(units, origin=None))
    weights_structure = jax.tree.structure(policy.params)
    structure = jax.tree.structure(policy.program.initial_state(1))

    def step(
        weights: list[jax.Array],
        state: list[jax.Array],
        observations: Tree,
        rewards: jax.Array,
        begins: jax.Array,
        asks: jax.Array,
        targets: jax.Array,
        seeds: jax.Array,
    ) -> tuple[Tree, list[jax.Array]]:
        before = jax.tree.unflatten(structure, state)
        if policy.steering.request is not None:
            targets = jnp.full_like(targets, policy.steering.request)
        # As `Pending.asked` has it: the reward after which the new target is left.
        leaving = before.return_to_go - transforms.discount * targets
        received = jnp.where(asks, leaving, transforms.rewards_while_playing(rewards))
        actions, after = policy.program.step(
            jax.tree.unflatten(weights_structure, weights),
            before,
            codec.encode_observation(observations),
            received,
            Start(begins, targets, seeds),
        )
        done = codec.decode_action(actions)
        if policy.options.past_end == "error":
            known = after.timestep <= policy.spec.max_timesteps
            done = jax.tree.map(lambda part: _only(part, known), done)
        return done, jax.tree.leaves(after)

    return step


def _origins_of(spec: PolicySpec) -> list[np.ndarray]:
    """What the caller takes off each array of an observation; nothing where all of it is 0."""
    origin = spec.observation_normalizer.origin
    if origin is None:
        return []
    numbers = spec.observation_parts.numbers
    ends = np.cumsum([0, *(leaf.size for leaf in numbers)])
    own = {
        leaf.path: origin[ends[i] : ends[i + 1]].reshape(leaf.shape)
        for i, leaf in enumerate(numbers)
    }
    tree = build(spec.observation_space, lambda leaf: own.get(leaf.path, np.zeros(leaf.shape)))
    return jax.tree.leaves(tree)


def _like(arrays: list[jax.Array]) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays]


def _only(values: jax.Array, rows: jax.Array) -> jax.Array:
    """The values of these rows; of others what no action is. A program cannot raise."""
    none = np.nan if jnp.issubdtype(values.dtype, jnp.floating) else -1
    return jnp.where(rows.reshape(-1, *[1] * (values.ndim - 1)), values, none).astype(values.dtype)


def _shapes(space: gymnasium.Space, batch_size: int) -> Tree:
    """What the program takes as observations; JAX has no 64-bit numbers unless it is told to."""
    if isinstance(space, spaces.Dict):
        return {name: _shapes(part, batch_size) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_shapes(part, batch_size) for part in space.spaces)
    dtype = jax.dtypes.canonicalize_dtype(space.dtype or np.float32)
    return jax.ShapeDtypeStruct((batch_size, *(space.shape or ())), dtype)


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with written_whole(path) as beside, beside.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
