"""Sentences of a small grammar, written word by word; the vote of the whole is the reward."""

from __future__ import annotations

from dt.text.data.grammar import sentences, votes
from dt.text.data.tokenizers import Words
from dt.text.env import TextEnv
from dt.text.judges import FunctionJudge

LONGEST = 16
FEW = 500  # sentences that hold every word at every place


class Sentences(TextEnv):
    """`TextEnv` of the grammar that the preset `text` learns."""

    def __init__(self, render_mode: str | None = None) -> None:
        judge = FunctionJudge("the grammar's own vote", votes)
        words = Words.of(sentences(FEW).texts, most=64)
        super().__init__(words, judge, LONGEST, render_mode=render_mode)
