"""The smallest edits of an input that flip an action or move it, and what the return does to it.

Axes: B contexts, T timesteps, F features, R returns, A numbers of an action.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dt.evaluation.intervals import mean_interval
from dt.model.params import Params
from dt.steering.answer import Answer, Inputs

ROUNDS = 24  # of steps to the boundary, and of halvings back to it
SWEPT = 101  # returns that are tried
LONGEST = 30.0  # an edit, in the model's units: what moves nothing by then moves nothing
STEP = 1.02  # beyond the boundary as the slope has it, so that curved ones are crossed


@dataclass(frozen=True)
class SmallestEdit:
    """Edits of one kind of input, in the model's units: deviations of the data."""

    of: str
    reached: float  # share of contexts in which some edit was found
    size: float  # median length, where one was found
    random_reached: float  # share that a random edit as long reaches, or the opposite of a return
    sizes: tuple[float | None, ...]  # of each context


@dataclass(frozen=True)
class Dose:
    """The action over the return that is asked for, in the units of targets."""

    returns: Float[np.ndarray, " R"]
    actions: Float[np.ndarray, "R A"]  # mean over contexts
    low: Float[np.ndarray, "R A"]  # ends of 95 % intervals
    high: Float[np.ndarray, "R A"]
    ranges: Float[np.ndarray, " B"]  # of each context: how far the most moved number moves


def smallest_edits(
    answer: Answer, params: Params, distance: float, seed: int
) -> list[SmallestEdit]:
    """Search the smallest edits of returns, of the last observation, and of all inputs.

    A return is one number: all of the data's are tried. Others are searched by the slope.

    Args:
        distance: by which a number of an action is to move; a choice is to flip.
    """
    told = answer.told(params)
    last = jax.nn.one_hot(answer.last, answer.batch.mask.shape[1])[:, :, None]
    real = {name: jnp.asarray(each, jnp.float32) for name, each in answer.real(told).items()}
    found = []
    if "return" in told:
        for of, where in (("the last return", last), ("all returns together", real["return"])):
            found.append(_sweep(answer, params, told, where, distance, of))
    if "observation" in told:
        seen = {"observation": last * real["observation"]}
        found.append(_search(answer, params, told, seen, distance, "the last observation", seed))
    return [*found, _search(answer, params, told, real, distance, "all inputs", seed)]


def dose_response(answer: Answer, params: Params, count: int) -> Dose:
    """Ask for each of a ladder of returns over the data's range, at the contexts' last step.

    What was asked before is moved by as much, as it would have been.

    Raises:
        ValueError: for a model that is told no return.
    """
    spec = answer.spec
    if not spec.conditional:
        raise ValueError(f"layout {spec.model.layout} takes no return, so there is no dose of it")
    told = answer.told(params)
    normal = _ladder(answer, told, count)
    returns = np.asarray(spec.return_normalizer.invert(np.asarray(normal)))
    rows = jnp.arange(len(answer.last))

    def at(asked: Array) -> Array:
        moved = asked - told["return"][rows, answer.last, 0]
        return answer.actions(params, {**told, "return": told["return"] + moved[:, None, None]})

    actions = np.asarray(jax.jit(lambda asked: jax.lax.map(at, asked))(normal))  # (R, B, A)
    rng = np.random.default_rng(0)
    ends = np.stack([mean_interval(actions[:, :, a], rng) for a in range(actions.shape[2])], axis=1)
    ranges = np.ptp(actions, axis=0).max(axis=1)
    return Dose(returns, actions.mean(axis=1), ends[..., 0], ends[..., 1], ranges)


def _ladder(answer: Answer, told: Inputs, count: int) -> Float[Array, " R"]:
    """Returns over the data's range, in the model's units; an imported model that does not know
    them has those of its contexts."""
    spec = answer.spec
    ends = np.asarray(spec.return_range, np.float32)
    if np.isfinite(ends).all():
        low, high = spec.return_normalizer(ends).tolist()
    else:
        shown = np.asarray(told["return"])[np.asarray(answer.batch.mask)]
        low, high = float(shown.min()), float(shown.max())
    return jnp.linspace(low, high, count)


def _sweep(
    answer: Answer, params: Params, told: Inputs, where: Array, distance: float, of: str
) -> SmallestEdit:
    """Try all returns at the last step, and find the nearest that does what is wanted.

    The control is the same move in the other direction.
    """
    goals, ladder = _goals(answer, params, told, distance), _ladder(answer, told, SWEPT)
    own = told["return"][jnp.arange(len(answer.last)), answer.last, 0]

    def done(moved: Array) -> Array:
        edit = {"return": moved[:, None, None] * where}
        return jnp.stack([_at(goal, told, edit) <= 0 for goal in goals]).any(axis=0)

    @jax.jit
    def swept() -> tuple[Array, Array]:
        moves = ladder[:, None] - own  # (R, B)
        reached = jax.lax.map(done, moves)
        sizes = jnp.where(reached, jnp.abs(moves), jnp.inf)
        best = sizes.argmin(axis=0)
        move = jnp.take_along_axis(moves, best[None], axis=0)[0]
        return sizes.min(axis=0), done(-move)

    return _found(of, *map(np.asarray, swept()))


def _found(of: str, sizes: np.ndarray, chance: np.ndarray) -> SmallestEdit:
    found = np.isfinite(sizes)
    return SmallestEdit(
        of=of,
        reached=float(found.mean()),
        size=float(np.median(sizes[found])) if found.any() else float("nan"),
        random_reached=float((chance & found).mean()),
        sizes=tuple(float(size) if np.isfinite(size) else None for size in sizes),
    )


def _search(
    answer: Answer,
    params: Params,
    told: Inputs,
    where: Inputs,
    distance: float,
    of: str,
    seed: int,
) -> SmallestEdit:
    goals = _goals(answer, params, told, distance)
    moved = {name: told[name] for name in where}

    @jax.jit
    def searched() -> tuple[Array, Array]:
        """Of all goals the shortest edit: its length, and whether a random one as long does it."""
        sizes, by_chance = [], []
        for goal in goals:
            edit = _walk(goal, told, moved, where)
            edit = _halved(goal, told, edit)
            size = _length(edit)
            done = (_at(goal, told, edit) <= 0) & (size < LONGEST)
            sizes.append(jnp.where(done, size, jnp.inf))
            by_chance.append(_at(goal, told, _random(edit, where, seed)) <= 0)
        return jnp.min(jnp.stack(sizes), axis=0), jnp.stack(by_chance).any(axis=0)

    return _found(of, *map(np.asarray, searched()))


Goal = Callable[[Inputs], Array]
"""What all inputs are -> how far the action is from what is wanted, (B,); done at 0 and below."""


def _goals(answer: Answer, params: Params, told: Inputs, distance: float) -> list[Goal]:
    """One goal where a choice is to flip; two where a number is to move up or down."""
    if answer.chosen is not None:
        return [lambda inputs: answer.margin(params, inputs)]
    own = answer(params, told)

    def move(sign: float) -> Goal:
        return lambda inputs: distance - sign * (answer(params, inputs) - own)

    return [move(1.0), move(-1.0)]


def _walk(goal: Goal, told: Inputs, moved: Inputs, where: Inputs) -> Inputs:
    """Step to the boundary by the slope, again and again (Moosavi-Dezfooli et al. 2016)."""
    start = jax.tree.map(jnp.zeros_like, moved)

    def step(_: int, edit: Inputs) -> Inputs:
        left = _at(goal, told, edit)
        slope = jax.grad(lambda e: _at(goal, told, e).sum())(edit)
        slope = {name: each * where[name] for name, each in slope.items()}
        square = _length(slope) ** 2
        size = jnp.where(left > 0, STEP * left / jnp.maximum(square, 1e-8), 0.0)
        size = jnp.minimum(size, LONGEST / jnp.maximum(jnp.sqrt(square), 1e-8) / 8)
        return {name: edit[name] - size[:, None, None] * slope[name] for name in edit}

    return jax.lax.fori_loop(0, ROUNDS, step, start)


def _halved(goal: Goal, told: Inputs, edit: Inputs) -> Inputs:
    """Shorten an edit as far as it still does what is wanted."""

    def step(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        done = _at(goal, told, _times(edit, middle)) <= 0
        return jnp.where(done, low, middle), jnp.where(done, middle, high)

    count = len(next(iter(edit.values())))
    _, high = jax.lax.fori_loop(0, ROUNDS, step, (jnp.zeros(count), jnp.ones(count)))
    return _times(edit, high)


def _random(edit: Inputs, where: Inputs, seed: int) -> Inputs:
    """An edit of the same length in a direction drawn at random."""
    key = jax.random.key(seed)
    drawn = {
        name: jax.random.normal(jax.random.fold_in(key, i), each.shape) * where[name]
        for i, (name, each) in enumerate(edit.items())
    }
    return _times(drawn, _length(edit) / jnp.maximum(_length(drawn), 1e-12))


def _at(goal: Goal, told: Inputs, edit: Inputs) -> Array:
    return goal({**told, **{name: told[name] + each for name, each in edit.items()}})


def _length(edit: Inputs) -> Float[Array, " B"]:
    squares = [jnp.square(each).sum(axis=(1, 2)) for each in edit.values()]
    return jnp.sqrt(sum(squares[1:], squares[0]))


def _times(edit: Inputs, factor: Array) -> Inputs:
    return {name: factor[:, None, None] * each for name, each in edit.items()}
