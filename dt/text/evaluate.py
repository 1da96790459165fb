"""From a trained text model to its score card: write, judge, read, compare with real texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from dt.config.text import GRAMMAR, TextConfig, TextEvaluationConfig
from dt.evaluation.provenance import code_commit, code_versions
from dt.text.card import Reading, TargetRow, TextCard
from dt.text.corpus import Corpus, load_corpus
from dt.text.exact import kl_from_exact
from dt.text.generator import Generator, load_generator
from dt.text.judges import Judge, make_judge
from dt.text.measures import (
    UNKNOWN,
    Measured,
    bits,
    copied,
    correlation,
    distinct,
    resampled,
    slope,
    slope_ratio,
    steps_up,
)
from dt.text.run import config_of_run, holdout_rows

MATCHED = 8  # times as many texts at held-out texts' own scores as at one target
SHOWN = 6  # texts of a target that the card keeps
NO_TARGETS = np.zeros(0)


@dataclass(frozen=True, eq=False)
class Written:
    """Texts, the scores they were asked for, and what the judge says of them."""

    asked: Float[np.ndarray, " n"]
    texts: tuple[str, ...]
    judged: Float[np.ndarray, " n"] | None

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Give what was asked beside what the judge found; None without a judge."""
        return None if self.judged is None else (self.asked, self.judged)


def card_of_text_run(
    run_dir: Path,
    how: TextEvaluationConfig | None = None,
    *,
    config: TextConfig | None = None,
    targets: Float[np.ndarray, " T"] = NO_TARGETS,
    checkpoint: str | int = "last",
    seed: int = 0,
    command: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> TextCard:
    """Make the score card of a run on text, whose posts are read again.

    Args:
        how: what is asked and how it is sampled; None: as the run was trained to be asked.
        config: of the run; None: read from its directory.
        targets: transformed scores to ask for; none: `evaluation.num_targets` of the data.
        seed: of the samples.
        say: told what is being done.

    Raises:
        ValueError: for a run, posts or a judge that cannot be used, in one line.
    """
    config = config or config_of_run(run_dir)
    how = how or config.evaluation
    generator = load_generator(run_dir, checkpoint)
    corpus = load_corpus(config)
    refuse_other_posts(generator, corpus)
    judge = make_judge(how.judge, corpus)
    return evaluate_text(
        generator,
        corpus,
        judge,
        how,
        targets=targets if len(targets) else generator.spec.targets(how.num_targets),
        seed=seed,
        command=command,
        say=say,
    )


def refuse_other_posts(generator: Generator, corpus: Corpus) -> None:
    """Refuse posts that are not those that the model was trained on.

    Raises:
        ValueError: naming the file.
    """
    if generator.spec.dataset.sha256 != corpus.sha256:
        raise ValueError(
            f"{corpus.posts.name}: is not the file that {generator.name} was trained on, so what "
            f"is held out is not known; put the old one back, or train anew"
        )


def evaluate_text(
    generator: Generator,
    corpus: Corpus,
    judge: Judge | None,
    how: TextEvaluationConfig,
    *,
    targets: Float[np.ndarray, " T"],
    seed: int = 0,
    command: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> TextCard:
    """Write at targets and at held-out texts' scores, judge it, and read the held-out texts."""
    test, values = corpus.posts.at(corpus.split.test), corpus.values[corpus.split.test]
    say(f"writing {how.samples} texts at each of {len(targets)} scores")
    asked = np.repeat(targets, how.samples)
    places = np.arange(len(asked)) % len(test)
    at_targets = _written(generator, judge, how, asked, test.prompts, places, seed)
    say(f"writing {MATCHED * how.samples} texts at real texts' own scores")
    places = np.arange(MATCHED * how.samples) % len(test)
    matched = _written(generator, judge, how, values[places], test.prompts, places, seed + 1)
    say("reading what is held out")
    real = None if judge is None else (values, judge(test.texts, test.prompts))
    training = corpus.posts.at(corpus.split.generator).texts
    rows = _target_rows(at_targets, targets, generator)
    means = [row.judged.value for row in rows if row.judged.value is not None]
    as_many = test.texts[: len(at_targets.texts)]
    return TextCard(
        name=generator.name,
        data=corpus.posts.name,
        transform=corpus.scale.transform,
        judge="" if judge is None else judge.name,
        guidance=how.guidance,
        temperature=how.temperature,
        samples=how.samples,
        targets=rows,
        monotone=steps_up(means),
        ratio=UNKNOWN
        if matched.pairs is None or real is None
        else slope_ratio(matched.pairs, real),
        slope_written=_of(slope, matched.pairs),
        slope_real=_of(slope, real),
        correlation=_of(correlation, at_targets.pairs),
        correlation_matched=_of(correlation, matched.pairs),
        ceiling=_of(correlation, real),
        reading=read_held_out(generator, corpus),
        distinct_1=distinct(at_targets.texts, 1),
        distinct_2=distinct(at_targets.texts[: len(as_many)], 2),
        distinct_2_real=distinct(as_many, 2),
        copied_8=copied((*at_targets.texts, *matched.texts), training),
        copied_8_real=copied(test.texts, training),
        kl=kl_from_exact(generator, test.texts, values) if corpus.posts.name == GRAMMAR else None,
        confounds=corpus.confounds,
        notes=corpus.notes,
        command=command,
        commit=code_commit(),
        versions=code_versions(),
    )


def read_held_out(generator: Generator, corpus: Corpus) -> Reading:
    """Measure how likely the model finds held-out texts, with their true scores and without."""
    rows, _ = holdout_rows(corpus, generator.spec.tokenizer, generator.spec.model.longest)
    test = corpus.posts.at(corpus.split.test)
    characters = sum(map(len, test.texts))
    found = []
    for null in (False, True):
        log_likelihoods, mask = generator.log_likelihood(rows, null=null)
        nats = -float(log_likelihoods[mask].sum())
        found.append((bits(nats) / characters, math.exp(nats / int(mask.sum()))))
    (with_score, perplexity), (without, perplexity_unasked) = found
    return Reading(with_score, without, perplexity, perplexity_unasked)


def _written(
    generator: Generator,
    judge: Judge | None,
    how: TextEvaluationConfig,
    asked: Float[np.ndarray, " n"],
    prompts: Sequence[str],
    places: np.ndarray,
    seed: int,
) -> Written:
    chosen = [prompts[i] for i in places] if prompts else []
    texts = generator.write(asked, chosen, how=how, seed=seed)
    judged = None if judge is None else judge(texts, chosen)
    return Written(asked, tuple(texts), judged)


def _target_rows(
    written: Written, targets: Float[np.ndarray, " T"], generator: Generator
) -> tuple[TargetRow, ...]:
    rows = []
    raw = generator.spec.scale.raw(targets)
    for number, target in enumerate(targets.tolist()):
        own = np.flatnonzero(written.asked == target)
        texts = [written.texts[i] for i in own]
        judged, std = UNKNOWN, None
        if written.judged is not None:
            scores = written.judged[own]
            judged = resampled(lambda x, _: x.mean(axis=-1), (scores, scores))
            std = float(scores.std())
        rows.append(
            TargetRow(
                target=target,
                raw=float(raw[number]),
                judged=judged,
                std=std,
                characters=float(np.mean([len(text) for text in texts])),
                texts=tuple(texts[:SHOWN]),
            )
        )
    return tuple(rows)


def _of(
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray],
    pairs: tuple[np.ndarray, np.ndarray] | None,
) -> Measured:
    return UNKNOWN if pairs is None else resampled(statistic, pairs)
