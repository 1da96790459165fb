"""The time that an update takes, by its parts, beside what the devices can do."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, Literal, Var
from rich.console import Console
from rich.table import Table

from dt.checkpoint.state import TrainState
from dt.model.params import Params
from dt.training.learning import AnyDraw, AnyFeed, AnyLearner, OnDevice
from dt.training.loss import Loss, Masked, loss_and_gradient
from dt.training.program import Measured, batch_at, make_train_steps

# Dense bf16 operations a second of one JAX device, from the makers' data sheets (float16 where
# there is no bf16). The first name that is part of the device's kind counts. TPU v2 and v3 show
# each of a chip's two cores as a device.
PEAKS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "A10": 125e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "V100": 125e12,
    "T4": 65e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
    "TPU v6": 918e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v4": 275e12,
    "TPU v3": 61e12,
    "TPU v2": 22e12,
}
TRACED_UPDATES = 5
MEASURED_SECONDS = 1.0  # for each part, after it is compiled


@dataclass(frozen=True)
class Profile:
    """What an update costs. Seconds of an update; counts of one device's part of an update."""

    devices: str
    seconds: float
    forward: float
    backward: float
    optimizer: float
    feeding: float
    """On the host, while the devices are at the updates before."""
    flops: float
    """Of the compiled program, as XLA counts them: everything, with a loop's body counted once."""
    bytes_accessed: float
    model_flops: float
    """Of all devices: three times the forward pass's matrix products and convolutions."""
    peak: float
    """Operations a second that all devices together can do."""
    peak_source: str
    trace: str

    @property
    def utilization(self) -> float:
        return self.model_flops / self.seconds / self.peak


def measure_training(
    learner: AnyLearner, state: TrainState, feed: AnyFeed, folder: Path
) -> Profile:
    """Time an update and its parts, compiled apart, and write a trace of some updates.

    Args:
        state: is used up.
        folder: of the trace; TensorBoard's profile plugin and Perfetto read it.
    """
    step = int(state.step)
    begin = time.perf_counter()
    draw = jax.block_until_ready(feed.round(step, step + feed.updates_per_round))
    feeding = (time.perf_counter() - begin) / feed.updates_per_round
    devices: list[jax.Device] = list(state.step.sharding.device_set)
    parts = _measure_parts(learner, state, feed.steps, draw)
    # The whole program last: it takes the state's memory for the next state's.
    seconds, costs = _measure_whole(learner, state, feed, draw, folder)
    peak, source = _peak(devices, learner.spec.model.dtype)
    return Profile(
        devices=f"{len(devices)} x {devices[0].device_kind}",
        seconds=seconds,
        forward=parts.forward,
        backward=max(0.0, parts.gradient - parts.forward),
        optimizer=parts.optimizer,
        feeding=feeding,
        flops=costs.get("flops", float("nan")),
        bytes_accessed=costs.get("bytes accessed", float("nan")),
        model_flops=3 * parts.forward_flops,
        peak=peak,
        peak_source=source,
        trace=str(folder),
    )


class _Parts(NamedTuple):
    """Seconds of the parts of an update, and the operations of its forward pass."""

    forward: float
    gradient: float
    optimizer: float
    forward_flops: int


def _measure_parts(
    learner: AnyLearner, state: TrainState, steps: OnDevice, draw: AnyDraw
) -> _Parts:
    """Time the parts of an update, each compiled by itself."""
    batch = jax.jit(lambda steps, draw: batch_at(learner, steps, draw, jnp.int32(0)))(steps, draw)
    is_null = jnp.zeros(len(batch.mask), bool)
    num_micro_batches = learner.config.num_micro_batches

    def loss_of(
        params: Params, batch: Masked, is_null: jax.Array, key: jax.Array
    ) -> tuple[Loss, Params]:
        return loss_and_gradient(learner.loss, params, batch, is_null, key, num_micro_batches)

    def whole(params: Params, batch: Masked, is_null: jax.Array, key: jax.Array) -> jax.Array:
        return learner.loss(params, batch, is_null, key, batch.mask.sum())[0]

    args = (state.params, batch, is_null, jax.random.key(0))
    gradient = jax.jit(loss_of)
    # What only the gradient needs, the compiler leaves out.
    forward = jax.jit(lambda *args: loss_of(*args)[0])
    forward_seconds = _seconds(lambda: forward(*args))
    gradient_seconds = _seconds(lambda: gradient(*args))
    grads = gradient(*args)[1]
    update = jax.jit(learner.optimizer.update)
    optimizer_seconds = _seconds(lambda: update(grads, state.optimizer, state.params))
    flops = product_flops(jax.make_jaxpr(whole)(*args).jaxpr)
    return _Parts(forward_seconds, gradient_seconds, optimizer_seconds, flops)


def _measure_whole(
    learner: AnyLearner, state: TrainState, feed: AnyFeed, draw: AnyDraw, folder: Path
) -> tuple[float, dict[str, float]]:
    """Time an update as it is trained, and ask the compiler about the program."""
    one, zero = np.int32(1), np.int32(0)
    state_sharding = jax.tree.map(lambda leaf: leaf.sharding, state)
    program = make_train_steps(learner, state_sharding)
    train_steps = program.lower(state, feed.steps, draw, one, zero).compile()
    holder = [state]

    def run(count: int) -> Measured:
        holder[0], measured = train_steps(holder[0], feed.steps, draw, np.int32(count), zero)
        return measured

    per_call = min(10, feed.updates_per_round)
    seconds = _seconds(lambda: run(per_call)) / per_call
    with jax.profiler.trace(str(folder)):
        jax.block_until_ready(run(min(TRACED_UPDATES, feed.updates_per_round)))
    return seconds, _costs(train_steps)


def describe_profile(profile: Profile, width: int = 100) -> str:
    """Format a profile as a table, of so many characters a line, and lines of text."""
    table = Table("part of an update", title=f"one update on {profile.devices}")
    table.add_column("ms", justify="right")
    table.add_column("share", justify="right")
    parts = {
        "forward": profile.forward,
        "backward": profile.backward,
        "optimiser": profile.optimizer,
    }
    # The parts, compiled apart, may come to more than the whole, which is compiled as one.
    parts["batches, metrics, loop"] = max(0.0, profile.seconds - sum(parts.values()))
    for name, seconds in parts.items():
        table.add_row(name, f"{seconds * 1e3:.3f}", f"{seconds / profile.seconds:.0%}")
    table.add_row("an update, as trained", f"{profile.seconds * 1e3:.3f}", "100%")
    feeding = f"{profile.feeding * 1e3:.3f}"
    table.add_row("feeding, meanwhile", feeding, f"{profile.feeding / profile.seconds:.0%}")
    text = io.StringIO()
    Console(file=text, width=width).print(table)
    lines = (
        f"compiled program, a device: {_amount(profile.flops)}FLOP and "
        f"{_amount(profile.bytes_accessed)}B accessed an update (XLA counts a loop's body once)",
        f"model: {_amount(profile.model_flops)}FLOP an update, "
        f"{_amount(profile.model_flops / profile.seconds)}FLOP/s, utilisation "
        f"{profile.utilization:.1%} of {_amount(profile.peak)}FLOP/s ({profile.peak_source})",
        f"trace: {profile.trace} (tensorboard --logdir, with its profile plugin)",
    )
    return text.getvalue() + "\n".join(lines)


def product_flops(jaxpr: Jaxpr) -> int:
    """Count multiplications and additions of all matrix products and convolutions, loops unrolled.

    A branch counts as its largest; a loop whose length only the run knows counts once, and so
    does attention that is a kernel of its own, as nothing.
    """
    total = 0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        out = prod(_shape(equation.outvars[0])) if equation.outvars else 0
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            left = _shape(equation.invars[0])
            total += 2 * out * prod(left[axis] for axis in contracted)
        elif name == "conv_general_dilated":
            kernel = _shape(equation.invars[1])
            total += 2 * out * prod(kernel) // kernel[params["dimension_numbers"].rhs_spec[0]]
        elif name == "cond":
            total += max(product_flops(branch.jaxpr) for branch in params["branches"])
        else:
            times = params["length"] if name == "scan" else 1
            total += times * sum(product_flops(inner) for inner in _inner(params.values()))
    return total


def _shape(variable: Var | Literal) -> tuple[int, ...]:
    """Find the shape of a value in a program; a token has none."""
    return getattr(variable.aval, "shape", ())


def _inner(values: Iterable[object]) -> list[Jaxpr]:
    """Find the programs among an equation's parameters."""
    found = (getattr(value, "jaxpr", value) for value in values)
    return [value for value in found if isinstance(value, Jaxpr)]


def _seconds(call: Callable[[], object]) -> float:
    """Time calls, the median of those that fit, two at least; the first, compiling, is apart."""
    jax.block_until_ready(call())
    taken: list[float] = []
    while len(taken) < 2 or (sum(taken) < MEASURED_SECONDS and len(taken) < 100):
        begin = time.perf_counter()
        jax.block_until_ready(call())
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def _peak(devices: list[jax.Device], dtype: str) -> tuple[float, str]:
    """Find what all devices can do together, operations a second, and how that is known."""
    kind = devices[0].device_kind
    for name, peak in PEAKS.items():
        if devices[0].platform != "cpu" and name in kind:
            return peak * len(devices), f"data sheet, bf16, {len(devices)} x {name}"
    size = 2048
    matrix = jax.device_put(jnp.ones((size, size), dtype), jax.local_devices()[0])
    product = jax.jit(jnp.matmul)
    peak = 2 * size**3 / _seconds(lambda: product(matrix, matrix))
    # A CPU's devices are the same cores.
    count = 1 if devices[0].platform == "cpu" else len(devices)
    return peak * count, f"measured here: a {size} x {size} {dtype} matrix product"


def _costs(compiled: jax.stages.Compiled) -> dict[str, float]:
    """Ask the compiler about its program; some back ends say nothing."""
    costs = compiled.cost_analysis()
    return (costs[0] if isinstance(costs, list) else costs) or {}


def _amount(value: float) -> str:
    for unit in ("", "k", "M", "G", "T", "P"):
        if abs(value) < 1000 or unit == "P":
            break
        value /= 1000
    return f"{value:.3g} {unit}"
