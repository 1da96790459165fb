"""Patching: clean values put back into a corrupted run, one layer, timestep and head at a time.

How much of the corruption's effect on the answer that undoes tells where the effect travels.

Axes: B contexts, T timesteps, L tokens, N layers, H heads, S steps before the action.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from dt.model.decision_transformer import names_of_points
from dt.model.edits import Edit
from dt.model.params import Params
from dt.model.points import Change, Points, Where, name_of
from dt.steering.answer import Answer
from dt.steering.contexts import Contexts, Demos, contexts_of
from dt.steering.edit_making import make_edit
from dt.steering.intervene_options import InterveneOptions
from dt.steering.outcome import Outcome, as_json, changed, paired_measure
from dt.steering.subject import Steered, Subject

DEFAULTS = InterveneOptions(patch=True)
KINDS = ("residual", "attention.heads", "mlp.out")
NEVER = 2**30  # a timestep that no context reaches


@dataclass(frozen=True)
class Patched:
    """Shares of the effect that clean values restore: 1 all of it, 0 none."""

    outcome: Outcome
    point: str  # that was corrupted
    answer: str
    residual: Float[np.ndarray, "N1 S"]  # before block 0, between blocks, after the last
    heads: Float[np.ndarray, "N S H"]
    mlp: Float[np.ndarray, "N S"]
    everything: float  # restored by patching all points at once
    untouched_before: bool  # whether no token before a patch changed by a bit
    effect: float  # of the corruption on the answer, mean size

    def to_json(self) -> dict[str, Any]:
        """Write all of it as JSON has it."""
        values = as_json(self)
        return {**values.pop("outcome"), **values}


def patch(
    steered: Steered,
    options: InterveneOptions = DEFAULTS,
    *,
    edit: Edit | None = None,
    demos: Demos | None = None,
    on: Contexts | None = None,
    command: str = "dt.steering.patch",
    **changes: Any,
) -> Patched:
    """Corrupt contexts by an edit, and put clean values back, one place at a time.

    Args:
        steered: a run's directory, a Hugging Face folder, or a policy.
        edit: the corruption, at `options.at`; by default as the options describe it.
        demos: makes the data of "demo:" sources.
        on: contexts in place of windows of the run's data.
        command: what the outcome says it was made by.
        changes: fields of `InterveneOptions` in place of those of `options`.

    Raises:
        ValueError: for a point that there is not, an edit that does not fit or changes no answer,
            and weights that changed meanwhile.
    """
    options = dataclasses.replace(changed(options, changes), patch=True)
    subject = Subject.of(steered, options.checkpoint)
    policy, ledger = subject.policy, subject.ledger()
    if on is None:
        on = contexts_of(subject, options.contexts, options.seed, options.data, demos)
    edit = make_edit(subject, options, on, demos) if edit is None else edit
    answer = Answer.of(policy, on)
    patcher = _Patcher(answer, options.at, edit)
    spec, steps = policy.spec, on.batch.mask.shape[1]
    layers, heads = spec.model.num_layers, spec.model.num_heads
    places = [
        *((0, layer, back, -1) for layer in range(layers + 1) for back in range(steps)),
        *((1, at, back, h) for at in range(layers) for back in range(steps) for h in range(heads)),
        *((2, layer, back, -1) for layer in range(layers) for back in range(steps)),
    ]
    found = patcher.run(policy.params, places)
    ledger.passes((len(places) + 4) * len(on))
    effect = np.abs(found.clean - found.corrupted)
    if effect.mean() < 1e-9:
        raise ValueError(
            f"{options.how} {options.at} changes no answer of these contexts, so there is nothing "
            f"to restore; name another edit"
        )
    shares = found.restored.mean(axis=1)
    first, second = (layers + 1) * steps, (layers + 1) * steps + layers * steps * heads
    middle = places.index((0, middle_of(layers), 0, -1))
    measure = paired_measure(
        "share restored by the clean state of the acting step, half way through the blocks",
        found.restored[middle],
        found.of_others,
        "by that of another context",
    )
    name = options.name
    return Patched(
        ledger.close(policy.params, "intervene", measure, options, name, command),
        options.at,
        answer.name,
        shares[:first].reshape(layers + 1, steps),
        shares[first:second].reshape(layers, steps, heads),
        shares[second:].reshape(layers, steps),
        float(found.everything.mean()),
        found.untouched,
        float(effect.mean()),
    )


@dataclass(frozen=True)
class _Runs:
    clean: Float[np.ndarray, " B"]
    corrupted: Float[np.ndarray, " B"]
    restored: Float[np.ndarray, "V B"]  # of each place and context; the mean is the share
    everything: Float[np.ndarray, " B"]
    of_others: Float[np.ndarray, " B"]  # by another context's state, at the last place
    untouched: bool


@dataclass(frozen=True, eq=False)
class _Patcher:
    """Runs of one model on the same contexts, clean, corrupted, and patched."""

    answer: Answer
    point: str
    edit: Edit

    def run(self, params: Params, places: list[tuple[int, int, int, int]]) -> _Runs:
        """Patch each place: kind, layer, steps before the action, and head or -1."""
        layers = self.answer.spec.model.num_layers
        attends = any("attention" in name for name in names_of_points(self.answer.spec))
        kinds = KINDS if attends else (KINDS[0], KINDS[2])
        names = tuple(
            name_of(layer, kind) for kind in kinds for layer in range(-(kind == "residual"), layers)
        )
        inner = tuple(each for each in names_of_points(self.answer.spec) if _is_inner(each))

        @jax.jit
        def of(params: Params, edit: Edit, table: Array) -> tuple[Array, ...]:
            never = dataclasses.replace(edit, first=jnp.int32(NEVER), last=jnp.int32(NEVER))
            clean, kept = self._run(params, {self.point: never}, (*inner,))

            def patched(place: Array) -> tuple[Array, Array]:
                do = {name: self._patch(name, kept[name], place) for name in names}
                value, seen = self._run(params, {self.point: edit, **do}, (f"residual.{layers}",))
                return value, seen[f"residual.{layers}"]

            # Patched nowhere first, in the same loop: bits are compared within one program.
            nowhere = jnp.array([[-1, -1, -1, -1]])
            values, after = jax.lax.map(patched, jnp.concatenate([nowhere, table]))
            corrupted, states = values[0], after[0]
            values, after = values[1:], after[1:]
            same = jax.vmap(lambda each, place: self._same(each, states, place))(after, table)
            whole = {name: _constant(kept[name]) for name in inner if name != self.point}
            everything, _ = self._run(params, {self.point: edit, **whole}, ())
            half = middle_of(layers)
            name, place = f"residual.{half}", jnp.array([0, half, 0, -1])
            rolled = {name: self._patch(name, jnp.roll(kept[name], 1, axis=0), place)}
            others, _ = self._run(params, {self.point: edit, **rolled}, ())
            return clean, corrupted, values, everything, others, same.all()

        edit = dataclasses.replace(
            self.edit, first=jnp.int32(self.edit.first), last=jnp.int32(self.edit.last)
        )
        found = of(params, edit, jnp.asarray(places))
        clean, corrupted, values, everything, others = map(np.asarray, found[:5])
        size = max(float(np.square(clean - corrupted).mean()), 1e-30)

        def share(value: np.ndarray) -> np.ndarray:
            # A context counts by how much the corruption changed it.
            return np.asarray((value - corrupted) * (clean - corrupted) / size)

        return _Runs(
            clean, corrupted, share(values), share(everything), share(others), bool(found[5])
        )

    def _run(
        self, params: Params, do: Mapping[str, Change], read: tuple[str, ...]
    ) -> tuple[Array, dict[str, Array]]:
        answer, points = self.answer, Points(read, do)
        model = nnx.merge(answer.graph, params)
        prediction = model.predictions(answer.batch, points=points)[0]
        return answer.value(model, answer.at_ends(prediction)), points.seen

    def _patch(self, name: str, clean: Array, place: Array) -> Change:
        """Put the clean value there if the place is of this point, at its timestep and head."""
        kind, layer = _kind_of(name)

        def change(value: Array, where: Where) -> Array:
            here = (place[0] == kind) & (place[1] == layer) & self._tokens(where, place[2])
            mask = here.reshape(*here.shape, *[1] * (value.ndim - 2))
            if kind == 1:
                heads = jnp.arange(value.shape[2]) == place[3]
                mask = mask & heads[:, None]
            return jnp.where(mask, clean, value)

        return change

    def _tokens(self, where: Where, back: Array) -> Bool[Array, "B L"]:
        """The tokens of the timestep so many steps before the one that acts."""
        acting = self._acting()[:, None]
        return (where.timesteps == acting - back) & (where.timesteps >= 0)

    def _acting(self) -> Array:
        times = jnp.asarray(self.answer.batch.timesteps)
        return times[jnp.arange(len(times)), self.answer.last]

    def _same(self, after: Array, before: Array, place: Array) -> Array:
        """Whether no token before the patched timestep changed."""
        spec = self.answer.spec
        times = jnp.repeat(self.answer.batch.timesteps, spec.layout.tokens_per_step, axis=1)
        times = jnp.pad(times, ((0, 0), (spec.num_prefix, 0)), constant_values=-1)
        earlier = times < (self._acting() - place[2])[:, None]
        return (jnp.where(earlier[..., None], after == before, True)).all()


def middle_of(layers: int) -> int:
    """The number of the residual half way through the blocks."""
    return (layers + 1) // 2


def _kind_of(name: str) -> tuple[int, int]:
    """The kind of a point, as `places` count them, and its layer; residual.0 is before block 0."""
    if name.startswith("residual"):
        return 0, int(name.split(".")[1])
    return (1 if "attention" in name else 2), int(name.split(".")[1])


def _is_inner(name: str) -> bool:
    return not name.startswith("inputs.")


def _constant(clean: Array) -> Change:
    return lambda value, where: clean
