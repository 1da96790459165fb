"""Tokens a second of the language model against transformers' GPT-2 of the same size, on CPU.

    python benchmarks/text.py                  width 256, 4 layers, a vocabulary of 8,192
    python benchmarks/text.py --size gpt2      width 768, 12 layers, a vocabulary of 50,257
    python benchmarks/text.py --memory         peak memory of training at a vocabulary of 49,152

Everybody trains, and then samples, once a round, one after the other, so that whatever else the
machine does meets all; ratios are medians over the rounds of ratios within a round. The same
architecture (GPT-2's), dropout, clipping and AdamW; ours draws its batches within the clock. The
peer runs where it is installed: `pip install torch==2.13.0 transformers`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from dt.config.language_model import LanguageModelConfig
from dt.config.optimizer import OptimizerConfig
from dt.config.text import PostsConfig, TextConfig, TextDataConfig

SIZES = {"scratch": (256, 4, 4, 8_192), "gpt2": (768, 12, 12, 50_257)}  # width, layers, heads, V
MEMORY = ("scratch", 49_152, 48, 48)  # size, vocabulary, rows, tokens of a row


@dataclass(frozen=True)
class Config:
    """The language model against transformers'."""

    size: Literal["scratch", "gpt2"] = "scratch"
    memory: bool = False
    rounds: int = 5
    updates: int = 5
    """Of everybody in a round."""
    batch: int = 32
    length: int = 64
    """Tokens of a row in training, and new tokens of a sample."""
    samples: int = 32
    """Texts that are drawn at once."""
    threads: int = 2
    only: Literal["", "ours", "transformers"] = ""
    """With --memory, in a process of its own: whose is measured."""
    json: Path | None = None
    """Write the figures there too."""


def main() -> None:
    config = tyro.cli(Config, description=__doc__)
    if hasattr(os, "sched_setaffinity"):  # before JAX counts the cores
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: config.threads]))
    command = "python " + " ".join(sys.argv)
    if config.memory:
        figures = peak(config) if config.only else memory(config)
    else:
        print(command)
        figures = speed(config)
    if config.json is not None:
        config.json.write_text(json.dumps({"command": command, **figures}, indent=1) + "\n")


def speed(config: Config) -> dict[str, Any]:
    """Training's and sampling's tokens a second, by turns."""
    width, layers, heads, vocabulary = SIZES[config.size]
    model = model_config(config, vocabulary)
    makers = {"ours": lambda: ours(model, config)}
    if find_spec("torch") and find_spec("transformers"):
        makers["transformers"] = lambda: transformers_gpt2(model, config)
    else:
        print("  transformers: skipped, torch or transformers not installed")
    workers = {name: make() for name, make in makers.items()}
    tokens = (config.updates * config.batch * config.length, config.samples * config.length)
    figures: dict[str, Any] = {}
    for what, kind, count in (("training", 0, tokens[0]), ("sampling", 1, tokens[1])):
        speeds: dict[str, list[float]] = {name: [] for name in workers}
        for number in range(config.rounds + 1):
            for name, worker in workers.items():
                begin = time.perf_counter()
                worker[kind]()
                if number:  # the first compiles and warms up
                    speeds[name].append(count / (time.perf_counter() - begin))
        figures[what] = report(what, speeds)
    return figures


def report(what: str, speeds: dict[str, list[float]]) -> dict[str, Any]:
    """Print and return medians, and how many times the peer's ours is."""
    figures: dict[str, Any] = {name: float(np.median(values)) for name, values in speeds.items()}
    for name, value in figures.items():
        print(f"  {what:10}{name:14}{value:10.0f} tokens/s", flush=True)
    if "transformers" in speeds:
        ratios = np.array(speeds["ours"]) / np.array(speeds["transformers"])
        figures["ratio"] = float(np.median(ratios))
        print(
            f"  {what:10}ours x{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"
        )
    return figures


def model_config(config: Config, vocabulary: int) -> LanguageModelConfig:
    """GPT-2's architecture in this size, for prompts of one token."""
    width, layers, heads, _ = SIZES[config.size]
    return LanguageModelConfig(
        vocabulary=vocabulary,
        longest=config.length,
        width=width,
        num_layers=layers,
        num_heads=heads,
        norm="layer",
        positions="learned",
        activation="gelu",
        biases=True,
        dropout=0.1,
    )


Worker = tuple[Callable[[], None], Callable[[], None]]  # trains, samples; done when they return


def ours(model: LanguageModelConfig, config: Config) -> Worker:
    """What train.py text does between two log lines, and what its card draws."""
    from dt.parallel.startup import use_compilation_cache, use_cpu_cores

    use_compilation_cache()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    use_cpu_cores()
    import jax
    from flax import nnx

    from dt.parallel.mesh import make_mesh, place, shardings, usable_devices
    from dt.text.data.scores import ScoreScale
    from dt.text.data.tokenizers import Bytes
    from dt.text.learner import TextLearner
    from dt.text.model.sample import SampleOptions, sample
    from dt.text.rows import TextFeed, TextRows
    from dt.text.spec import TextSpec, TextSummary
    from dt.training.program import make_train_steps

    rng, rows = np.random.default_rng(0), 8 * config.batch
    tokens = rng.integers(0, model.vocabulary, (rows, config.length + 1)).astype(np.int32)
    data = TextRows(
        tokens,
        np.ones(rows, np.int32),
        np.full(rows, config.length + 1, np.int32),
        rng.normal(size=rows).astype(np.float32),
    )
    run = TextConfig(
        data=TextDataConfig(source="x", batch_size=config.batch),
        text=PostsConfig(return_dropout=0.1),
        model=model,
        optimizer=OptimizerConfig(learning_rate=1e-4, weight_decay=0.1, clip_norm=1.0),
        num_steps=100_000,
        log_interval=config.updates,
    )
    summary = TextSummary("x", "", rows, rows * config.length, tuple(map(float, range(101))))
    spec = TextSpec(model, Bytes(), ScoreScale("raw", 0.0, 1.0), summary)
    learner = TextLearner(spec, run)
    mesh = make_mesh(usable_devices(config.batch, run.mesh), run.mesh)
    state = learner.init()
    state_shardings = shardings(state, mesh, learner.divided)
    state = place(state, state_shardings)
    feed = TextFeed(data, None, run, mesh)
    train_steps = make_train_steps(learner, state_shardings)
    done = 0

    def train() -> None:
        nonlocal state, done
        draw = feed.round(done, done + config.updates)
        state, metrics = train_steps(state, feed.steps, draw, np.int32(config.updates))
        done += config.updates
        float(metrics.means["loss"])  # waits for the device

    sampled = nnx.merge(learner.graph, jax.device_put(learner.init().params, jax.devices()[0]))
    options = SampleOptions(length=config.length, top_k=50)
    prompts, asked = np.zeros((config.samples, 1), np.int32), np.zeros(config.samples, np.float32)

    def draw() -> None:
        key = jax.random.key(done)
        jax.block_until_ready(sample(sampled, options, key, prompts, None, asked).tokens)

    return train, draw


def transformers_gpt2(model: LanguageModelConfig, config: Config) -> Worker:
    """GPT2LMHeadModel in the plainest loop, and its `generate`."""
    import torch
    import transformers

    torch.set_num_threads(config.threads)
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=model.vocabulary,
            n_embd=model.width,
            n_layer=model.num_layers,
            n_head=model.num_heads,
            n_positions=model.longest + 1,
            embd_pdrop=0.1,
            resid_pdrop=0.1,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
    optimizer = torch.optim.AdamW(theirs.parameters(), 1e-4, weight_decay=0.1)
    # The same for ever: as many tokens are predicted as ours predicts.
    batch = torch.randint(0, model.vocabulary, (config.batch, config.length + 1))

    def train() -> None:
        theirs.train()
        for _ in range(config.updates):
            loss = theirs(batch, labels=batch).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
            optimizer.step()
        loss.item()

    prompts = torch.zeros((config.samples, 1), dtype=torch.long)
    count = config.length

    def draw() -> None:
        theirs.eval()
        with torch.no_grad():
            theirs.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                do_sample=True,
                top_k=50,
                max_new_tokens=count,
                min_new_tokens=count,
                pad_token_id=0,
            )

    return train, draw


def memory(config: Config) -> dict[str, Any]:
    """Peak memory of training, ours and transformers', each in a process of its own."""
    size, vocabulary, rows, length = MEMORY
    print(f"  {rows} x {length} tokens, a vocabulary of {vocabulary:,}, size {size}")
    print(f"  the logits of a batch would be {4 * rows * length * vocabulary / 2**20:,.0f} MiB")
    figures = {}
    for name in ("ours", "transformers"):
        if name == "transformers" and not find_spec("transformers"):
            continue
        words = [sys.executable, __file__, "--memory", "--only", name]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        figures[name] = json.loads(said.splitlines()[-1])
        peak_of, before = figures[name]["peak"], figures[name]["before"]
        print(f"  {name:14}{peak_of:8,.0f} MiB at most, {before:,.0f} before the first update")
    return figures


def peak(config: Config) -> dict[str, Any]:
    """Train for three updates; print the process's peak memory, and its memory before, in MiB."""
    import psutil

    _, vocabulary, rows, length = MEMORY
    config = Config(batch=rows, length=length, updates=3, threads=config.threads, only=config.only)
    model = model_config(config, vocabulary)
    worker = (ours if config.only == "ours" else transformers_gpt2)(model, config)
    before = psutil.Process().memory_info().rss / 2**20
    worker[0]()
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(json.dumps({"before": before, "peak": most}))
    return {}


if __name__ == "__main__":
    main()
