"""Edits of named points, made from words: what is set, shuffled or taken comes from the data.

Axes: B contexts, T timesteps, L tokens, N values of a pool, S steps of an episode, F features.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.targets import parse_targets
from dt.data import TrainingData
from dt.data.batches.windows import Batch
from dt.model.decision_transformer import names_of_points
from dt.model.edits import ALWAYS, Edit
from dt.model.inputs import ACTION, OBSERVATION, RETURN
from dt.model.points import TOKENS, check_names
from dt.model.recipe import recipe_of
from dt.spec.spec import PolicySpec
from dt.steering.contexts import Contexts, Demos, contexts_of, data_of
from dt.steering.intervene_options import InterveneOptions
from dt.steering.running import null, run
from dt.steering.subject import Subject


def make_edit(
    subject: Subject, options: InterveneOptions, on: Contexts | None, demos: Demos | None = None
) -> Edit:
    """Make the edit that the options describe.

    Args:
        on: contexts whose values are shuffled; None: windows of the data.
        demos: makes the data of "demo:" sources, of which a donor may be an episode.

    Raises:
        ValueError: for a point that there is not, a value that does not fit it, and what the model
            cannot do without or keep.
    """
    policy, spec = subject.policy, subject.policy.spec
    check_names([options.at], names_of_points(spec))
    values: np.ndarray | None = None
    if options.how == "null":
        values = np.asarray(null(policy, options.at).values)
    elif options.how in ("set", "add"):
        values = _given(spec, options)
    elif options.how == "shuffle":
        if on is None:
            on = contexts_of(subject, options.contexts, options.seed, options.data, demos)
        values = _pool(policy, options, on)
    elif options.how == "donor":
        values = _of_donor(policy, options, data_of(subject.source, options.data, demos)[0])
    return Edit(
        "set" if options.how == "null" else options.how,
        values,
        first=options.first,
        last=ALWAYS if options.last < 0 else options.last,
        places=_places(spec, options),
        heads=options.heads,
        features=options.features,
    )


def _places(spec: PolicySpec, options: InterveneOptions) -> tuple[int, ...]:
    if not options.token or not _inside(options.at):
        return ()
    place = spec.layout.place_of(options.token)
    if place < 0:
        raise ValueError(f"layout {spec.layout} has no token of the {options.token}")
    return (place,)


def _inside(point: str) -> bool:
    """Whether a point has a value for each token, not one a timestep."""
    return not point.startswith(("inputs.", f"{TOKENS}."))


def _given(spec: PolicySpec, options: InterveneOptions) -> Float[np.ndarray, ...]:
    """The value in the model's units, with a number for each feature that is edited."""
    value = np.asarray(options.value, np.float32)
    adds = options.how == "add"
    units = {
        RETURN: spec.return_normalizer,
        OBSERVATION: spec.observation_normalizer,
        ACTION: spec.action_normalizer,
    }.get(options.at)
    if options.at == RETURN and len(value) != 1:
        raise ValueError(f"--value has {len(value)} numbers, and a return is one")
    if units is None:
        return value
    if options.at == RETURN:
        shift = 0.0 if adds else np.asarray(units.mean)
        return np.asarray((value[0] - shift) / np.asarray(units.scale), np.float32)
    size = len(np.atleast_1d(units.mean))
    features = list(options.features) or list(range(size))
    if len(value) not in (1, len(features)) or max(features) >= size:
        raise ValueError(
            f"--value has {len(value)} number(s) for features {features} of the {size} of "
            f"{options.at}"
        )
    whole = np.zeros(size, np.float32)
    whole[features] = value
    shift = np.zeros(size) if adds else np.asarray(units.mean)
    return np.asarray((whole - shift) / np.asarray(units.scale), np.float32)


def _pool(
    policy: ReturnConditionedPolicy, options: InterveneOptions, on: Contexts
) -> Float[np.ndarray, "N ..."]:
    """What stands at the point in all contexts, a value a token."""
    if options.at.endswith("attention.weights"):
        raise ValueError(f"{options.at} differ in what they are of, and cannot be shuffled")
    values = np.asarray(run(policy, on, read=[options.at]).read[options.at])
    mask = np.asarray(on.batch.mask)
    if not _inside(options.at):
        return values[mask]
    own = _token_values(policy.spec, options, values)
    pool: np.ndarray = own[mask]
    return pool


def _token_values(
    spec: PolicySpec, options: InterveneOptions, values: np.ndarray
) -> Float[np.ndarray, "B T ..."]:
    """Of a value (B, L, ...), those of one kind of token: others mean something else."""
    if not options.token:
        raise ValueError(
            f"{options.at} is of all tokens, and those of other kinds are no stand-ins; say which "
            f"with --token return, observation or action"
        )
    n, before = spec.layout.tokens_per_step, spec.num_prefix
    steps = values[:, before:].reshape(len(values), -1, n, *values.shape[2:])
    return np.asarray(steps[:, :, _places(spec, options)[0]])


def _of_donor(
    policy: ReturnConditionedPolicy, options: InterveneOptions, data: TrainingData
) -> Float[np.ndarray, "S ..."]:
    """What stands at the point in the episode of the data whose return is nearest to the donor's,
    from the first step that is edited on."""
    spec = policy.spec
    (wanted,) = parse_targets([options.donor], spec.dataset, "--donor ")
    episode = int(np.abs(np.asarray(data.returns) - wanted).argmin())
    begin, end = (int(x) for x in data.offsets[episode : episode + 2])
    if options.first >= end - begin:
        raise ValueError(
            f"the donor has {end - begin} steps, and none from step {options.first} on; lower "
            f"--first, or name another --donor"
        )
    if _inside(options.at) and not recipe_of(spec.model).cached:
        raise ValueError(
            f"a model of recipe {spec.model.recipe} computes windows anew, so an episode has no "
            f"one value at {options.at}; take inputs or tokens from a donor"
        )
    if data.images is not None:
        raise ValueError("a donor of pictures is not read; shuffle or set the point")
    steps = spec.codec.encode(np.asarray(data.rows[begin:end]))
    observations, actions, returns = jax.tree.map(lambda x: jnp.asarray(x)[None], tuple(steps))
    times = jnp.arange(end - begin, dtype=jnp.int32)[None]
    batch = Batch(observations, actions, returns, times, jnp.ones(times.shape, bool))
    values = np.asarray(run(policy, batch, read=[options.at]).read[options.at])
    own = _token_values(spec, options, values) if _inside(options.at) else values
    return np.asarray(own[0, options.first :])
