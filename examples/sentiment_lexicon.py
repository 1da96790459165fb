"""A judge of one's own: how many kind words a text has, less the unkind ones.

`python evaluate.py RUN --judge examples.sentiment_lexicon:score` asks whether texts at high scores
are friendlier. A slope whose interval holds 0 says that they are not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

KIND = """amazing awesome beautiful best better brilliant charming clever delight delightful easy
elegant enjoy enjoyable excellent fantastic fast fine free fresh friendly fun funny gain gift good
great happy honest hope incredible inspiring joy kind love lovely nice perfect pleasant powerful
praise pretty safe simple smart success super sweet thank thrive top true useful warm win winner
wins wonderful worth"""
UNKIND = """abuse angry annoying attack awful bad ban bland boring broken bug cheat crash crisis
cruel danger dead death dies difficult dull dumb error evil fail failed fails failure fake fear
fight flaw fraud hack hard hate horrible kill killed lame lawsuit lies lost messy mistake pain poor
problem problems sad scam scandal shame sick slow stupid stolen terrible threat tired trouble ugly
useless violence warning waste weak worse worst wrong"""
WEIGHTS = {**dict.fromkeys(KIND.split(), 1.0), **dict.fromkeys(UNKIND.split(), -1.0)}


def score(texts: Sequence[str]) -> list[float]:
    """Sum the weights of each text's words."""
    return [
        sum(WEIGHTS.get(word, 0.0) for word in re.findall(r"\w+", text.lower())) for text in texts
    ]
