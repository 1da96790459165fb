"""Judges: who scores what was written, and never saw what the generator learned from."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Float

from dt.config.text import GRAMMAR
from dt.files import first_line, shown
from dt.text.corpus import Corpus
from dt.text.data.grammar import votes
from dt.text.reward.scorer import load_scorer

Scores: TypeAlias = Float[np.ndarray, " n"]
STRENGTHS = np.logspace(-1, 2, 7)  # of the ridge, chosen on its own posts


@runtime_checkable
class Judge(Protocol):
    """Scores texts, in the unit of the transformed scores, or one that rises with it."""

    @property
    def name(self) -> str: ...

    def __call__(self, texts: Sequence[str], prompts: Sequence[str], /) -> Scores: ...


@dataclass(frozen=True)
class FunctionJudge:
    """Any function of texts."""

    name: str
    function: Callable[[Sequence[str]], Sequence[float] | np.ndarray]

    def __call__(self, texts: Sequence[str], prompts: Sequence[str] = ()) -> Scores:
        """Score the texts.

        Raises:
            ValueError: when the function gives no finite number for each.
        """
        found = np.asarray(self.function(list(texts)), float)
        if found.shape != (len(texts),) or not np.isfinite(found).all():
            raise ValueError(
                f"judge {self.name}: gave {found.shape} numbers for {len(texts)} texts, and they "
                f"must be one for each, all finite"
            )
        return found


def tfidf_judge(corpus: Corpus) -> Judge:
    """Fit a ridge on the words and pairs of words of the judge's posts.

    Raises:
        ValueError: where scikit-learn is not installed, or the judge has no posts.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise ValueError(
            "judge tfidf needs scikit-learn; pip install 'dt-steer[text]', or name another "
            "--evaluation.judge (--judge of evaluate.py)"
        )
    if not len(corpus.split.judge):
        raise ValueError(
            "judge tfidf learns from posts of its own, and text.judge_fraction is 0; train with "
            "some, or name another judge"
        )
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    own = corpus.posts.at(corpus.split.judge)
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    # By conjugate gradients, whose time grows with the posts, and not with their cube.
    ridges = GridSearchCV(Ridge(solver="sparse_cg"), {"alpha": STRENGTHS}, cv=3)
    ridge = make_pipeline(words, ridges)
    try:
        ridge.fit(list(own.texts), corpus.values[corpus.split.judge])
    except ValueError as error:  # no word that comes twice
        raise ValueError(f"judge tfidf: {shown(first_line(error))}; name another judge") from None
    return FunctionJudge(f"ridge on words of {len(own)} posts of its own", ridge.predict)


def make_judge(name: str, corpus: Corpus) -> Judge | None:
    """Make the judge that `evaluation.judge` names; None for none.

    Raises:
        ValueError: for a name that is neither known, nor a function's, nor a reward model's run.
    """
    if name == "none":
        return None
    if corpus.posts.name == GRAMMAR and name == "tfidf":
        return FunctionJudge("the grammar's own vote", votes)
    if name == "tfidf":
        return tfidf_judge(corpus)
    if Path(name).is_dir():
        return _of_run(Path(name))
    module, _, function = name.partition(":")
    if not function:
        raise ValueError(
            f"judge {name!r}: is no judge that is known; give tfidf, none, MODULE:FUNCTION, or the "
            f"directory of a reward model's run"
        )
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"judge {name}: cannot be found ({shown(first_line(error))})") from None
    return FunctionJudge(name, found)


def _of_run(run_dir: Path) -> Judge:
    """Load a reward model, whose own test says on its card how far it is to be trusted."""
    return load_scorer(run_dir)
