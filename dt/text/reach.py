"""Which tokens, put before a text, make a wanted token come next: a search beside a random one.

The weights are held, and the text stands as it is: "What's the Magic Word?" (Bhargava et al. 2023,
2310.04444) asks so of a frozen model, and gives neither a random baseline nor the exact optimum.
Here one token is searched exactly, wherever the budget holds the vocabulary, and every search
stands beside random prefixes, as many as it tried.

Axes: N texts, C tokens of a text, B prefixes, k tokens of a prefix, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeAlias

import jax
import numpy as np
from annotated_types import Ge
from flax import nnx
from jaxtyping import Array, Float, Int

from dt.checkpoint.load import find_checkpoint
from dt.config.checks import Count, Seed, check_bounds
from dt.model.params import Params
from dt.steering.outcome import Ledger, Outcome, as_json, paired_measure
from dt.text.corpus import load_corpus
from dt.text.data.tokenizers import Tokenizer
from dt.text.generator import Generator, load_generator
from dt.text.measures import bits
from dt.text.model.language_model import LanguageModel, abstract_model
from dt.text.run import config_of_run, holdout_rows

BATCH = 256  # prefixes that are read at once


@dataclass(frozen=True)
class ReachOptions:
    """How prefixes are searched, and before which texts."""

    k: tuple[Annotated[int, Ge(0)], ...] = (0, 1, 2)
    """Tokens of a prefix."""
    want: str = ""
    """The token that is to come next, as text; empty: the one that does come next in each text."""
    contexts: Count = 50
    """Held-out texts whose first tokens stand behind the prefix."""
    context_tokens: Count = 6
    """How many of them."""
    budget: Count = 4096
    """Prefixes that are tried for each text and k, at most."""
    seed: Seed = 0
    """Of the texts and of random tokens."""
    checkpoint: str = "last"
    """Which checkpoint is steered: last, or an update's number."""

    def __post_init__(self) -> None:
        check_bounds(self, "--")
        if not self.k:
            raise ValueError("--k names no length of a prefix; give one, such as --k 0 1 2")


@dataclass(frozen=True)
class ReachRow:
    """What prefixes of k tokens came to, over all texts."""

    k: int
    exact: bool
    """Whether every prefix of this length was tried."""
    reached: float
    """Share of texts behind which the wanted token is the likeliest."""
    reached_random: float
    """The same of the best of as many random prefixes."""
    lift: float
    """Mean bits by which the best prefix raises the wanted token."""
    lift_random: float
    tried: float
    """Mean number of prefixes."""


@dataclass(frozen=True)
class Reached:
    """What was found, and the outcome that every verb has."""

    outcome: Outcome
    rows: tuple[ReachRow, ...]
    examples: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Write all of it as JSON has it."""
        rows, examples = as_json(self.rows), list(self.examples)
        return as_json(self.outcome) | {"rows": rows, "examples": examples}


class Best(NamedTuple):
    """The best prefix of some."""

    prefix: Int[np.ndarray, " k"]
    log_prob: float
    """Of the wanted token."""
    reached: bool
    """Whether it is the likeliest."""
    tried: int


Read: TypeAlias = Callable[[Int[np.ndarray, "B k"]], tuple[np.ndarray, np.ndarray]]
"""Prefixes -> log-probabilities of the wanted token, and whether it is the likeliest."""


def reach(
    run_dir: Path,
    options: ReachOptions,
    *,
    command: str = "dt.text.reach.reach",
    on_text: Callable[[int, int], None] = lambda done, count: None,
) -> Reached:
    """Search prefixes that make a token come next, before held-out texts of a run.

    Raises:
        ValueError: for a run that is none of text, a wanted text that is not one token, and texts
            that are too short.
    """
    generator = load_generator(run_dir, options.checkpoint)
    step = int(find_checkpoint(run_dir, options.checkpoint).name)
    ledger = Ledger(generator.params, str(run_dir), step)
    texts, wanted = _contexts(run_dir, generator, options)
    longest = generator.spec.model.longest
    if 1 + max(options.k) + options.context_tokens > longest:
        raise ValueError(
            f"--k {max(options.k)} with --context-tokens {options.context_tokens} is more than "
            f"the model's longest text, {longest} tokens; give fewer"
        )
    found: dict[int, list[tuple[Best, Best]]] = {k: [] for k in options.k}
    plain = np.empty(len(texts))
    for number, (text, token) in enumerate(zip(texts, wanted, strict=True)):
        read = _reader(generator, text, int(token))
        rng = np.random.default_rng([options.seed, number])
        plain[number] = read(np.zeros((1, 0), np.int64))[0][0]
        for k in options.k:
            both = _both(read, k, generator.spec.tokenizer.size, options.budget, rng)
            found[k].append(both)
            ledger.passes(both[0].tried + both[1].tried)
        on_text(number + 1, len(texts))
    size = generator.spec.tokenizer.size
    rows = tuple(
        _row(k, found[k], plain, k == 0 or (k == 1 and size <= options.budget)) for k in found
    )
    last = found[max(options.k)]
    measure = paired_measure(
        f"bits that {max(options.k)} tokens raise the wanted one by",
        np.array([bits(best.log_prob - at) for (best, _), at in zip(last, plain, strict=True)]),
        np.array([bits(best.log_prob - at) for (_, best), at in zip(last, plain, strict=True)]),
        "as many random prefixes",
    )
    verb = "optimise" if options.want else "reach"
    outcome = ledger.close(generator.params, verb, measure, options, command=command)
    examples = _examples(generator.spec.tokenizer, texts, wanted, last)
    return Reached(outcome, rows, examples)


def _contexts(
    run_dir: Path, generator: Generator, options: ReachOptions
) -> tuple[Int[np.ndarray, "N C"], Int[np.ndarray, " N"]]:
    """Take the first tokens of held-out texts, and the wanted token of each."""
    corpus, tokenizer = load_corpus(config_of_run(run_dir)), generator.spec.tokenizer
    rows, _ = holdout_rows(corpus, tokenizer, generator.spec.model.longest)
    count = options.context_tokens
    long = np.flatnonzero(rows.lengths > count + 2)  # the start, and one that comes next
    if not len(long):
        raise ValueError(
            f"{run_dir}: no held-out text has {count + 1} tokens; give a smaller --context-tokens"
        )
    chosen = np.random.default_rng(options.seed).permutation(long)[: options.contexts]
    texts = rows.tokens[chosen, 1 : count + 1]
    if not options.want:
        return texts, rows.tokens[chosen, count + 1]
    tokens = tokenizer.encode(options.want)
    if len(tokens) != 1:
        raise ValueError(
            f"--want {options.want!r} is {len(tokens)} tokens, and it must be one; words within a "
            f"text often begin with a space"
        )
    return texts, np.full(len(texts), tokens[0])


def _both(
    read: Read, k: int, size: int, budget: int, rng: np.random.Generator
) -> tuple[Best, Best]:
    """Search, and draw as many random prefixes as that took."""
    best = search(read, k, size, budget, rng)
    drawn = rng.integers(0, size, (best.tried, k))
    return best, _best_of(read, drawn)


def search(read: Read, k: int, size: int, budget: int, rng: np.random.Generator) -> Best:
    """Search a prefix by exchanging one token at a time, the others held.

    Of each place all tokens are tried, or as many random ones as the budget has for it. With k = 1
    and a budget of the whole vocabulary this is the optimum.
    """
    if k == 0:
        return _best_of(read, np.zeros((1, 0), np.int64))
    best = _best_of(read, rng.integers(0, size, (1, k)))
    place, since, share = 0, 0, min(size, budget if k == 1 else max(budget // (2 * k), 1))
    while best.tried < budget and since < k:
        count = min(share, budget - best.tried if k > 1 else share)
        tokens = np.arange(size) if count == size else rng.choice(size, count, replace=False)
        trial = np.repeat(best.prefix[None], count, axis=0)
        trial[:, place] = tokens
        found = _best_of(read, trial)
        tried = best.tried + found.tried
        since = 0 if found.log_prob > best.log_prob else since + 1
        best = (found if found.log_prob > best.log_prob else best)._replace(tried=tried)
        place = (place + 1) % k
        if k == 1:
            break
    return best


def _best_of(read: Read, prefixes: Int[np.ndarray, "n k"]) -> Best:
    """Find the best of some prefixes: one that reaches before one that does not."""
    log_probs, reached = read(prefixes)
    at = int(np.argmax(np.where(reached, log_probs + 1e6, log_probs)))
    return Best(prefixes[at], float(log_probs[at]), bool(reached[at]), len(prefixes))


def _reader(generator: Generator, text: Int[np.ndarray, " C"], wanted: int) -> Read:
    """Make what reads prefixes before a text."""
    graph = nnx.graphdef(abstract_model(generator.spec.model))
    start = generator.spec.tokenizer.start

    def read(prefixes: Int[np.ndarray, "n k"]) -> tuple[np.ndarray, np.ndarray]:
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for begin in range(0, len(prefixes), BATCH):
            own = prefixes[begin : begin + BATCH]
            rows = np.resize(own, (BATCH if len(prefixes) > 1 else 1, own.shape[1]))
            ends = np.broadcast_to(text, (len(rows), len(text)))
            tokens = np.concatenate([np.full((len(rows), 1), start), rows, ends], axis=1)
            log_probs, top = _next(graph, generator.params, tokens.astype(np.int32), wanted)
            found.append((np.asarray(log_probs)[: len(own)], np.asarray(top)[: len(own)]))
        log_probs, tops = (np.concatenate(part) for part in zip(*found, strict=True))
        return log_probs, tops

    return read


@jax.jit(static_argnums=0)
def _next(
    graph: nnx.GraphDef[LanguageModel],
    params: Params,
    tokens: Int[Array, "B L"],
    wanted: Int[Array, ""] | int,
) -> tuple[Float[Array, " B"], Array]:
    """Compute the wanted token's log-probability after each row, and if it is the likeliest."""
    model = nnx.merge(graph, params)
    logits = model.logits(model(tokens)[:, -1])
    own = logits[:, wanted]
    return own - jax.nn.logsumexp(logits, axis=-1), own >= logits.max(axis=-1)


def _row(
    k: int, found: list[tuple[Best, Best]], plain: Float[np.ndarray, " N"], exact: bool
) -> ReachRow:
    best, random = ([each[side] for each in found] for side in (0, 1))

    def reached(of: list[Best]) -> float:
        return float(np.mean([each.reached for each in of]))

    def lift(of: list[Best]) -> float:
        lifts = [bits(each.log_prob - at) for each, at in zip(of, plain, strict=True)]
        return float(np.mean(lifts))

    tried = float(np.mean([each.tried for each in best]))
    return ReachRow(k, exact, reached(best), reached(random), lift(best), lift(random), tried)


def _examples(
    tokenizer: Tokenizer,
    texts: Int[np.ndarray, "N C"],
    wanted: Int[np.ndarray, " N"],
    found: list[tuple[Best, Best]],
) -> tuple[str, ...]:
    """Spell what was found before the first few texts."""
    return tuple(
        f"[{tokenizer.decode(best.prefix.tolist())}]{tokenizer.decode(text.tolist())} -> "
        f"{tokenizer.decode([int(token)])}"
        for text, token, (best, _) in list(zip(texts, wanted, found, strict=True))[:5]
    )
