"""Text as a Gymnasium environment: an action is a token, and the judge's score comes at the end."""

from __future__ import annotations

from typing import TypeAlias

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Int

from dt.play.faults import Infos
from dt.text.data.tokenizers import Tokenizer
from dt.text.judges import Judge

Seen: TypeAlias = Int[np.ndarray, " L"]


class TextEnv(gymnasium.Env[Seen, np.int64]):
    """A text is written token by token; when it ends, its judge's score is the reward.

    What is seen is the text so far, a place a token and the number of tokens, `size`, where there
    is none yet: an environment has to show what a language model keeps for itself. A text that is
    as long as may be is truncated and judged as it stands.
    """

    metadata = {"render_modes": ["ansi"]}

    def __init__(
        self,
        tokenizer: Tokenizer,
        judge: Judge,
        longest: int = 64,
        prompts: tuple[str, ...] = (),
        render_mode: str | None = None,
    ):
        """
        Args:
            longest: tokens of a text, its end among them.
            prompts: of which each episode draws one, shown to the judge; none: no prompt.
        """
        self.tokenizer, self.judge, self.prompts = tokenizer, judge, prompts
        self.longest, self.render_mode = longest, render_mode
        self.observation_space = spaces.Box(0, tokenizer.size, (longest,), np.int64)
        self.action_space = spaces.Discrete(tokenizer.size)
        self._tokens: list[int] = []
        self._prompt = ""

    def reset(self, *, seed: int | None = None, options: Infos | None = None) -> tuple[Seen, Infos]:
        """Begin a text, and draw its prompt."""
        super().reset(seed=seed)
        self._tokens = []
        if self.prompts:
            self._prompt = self.prompts[int(self.np_random.integers(len(self.prompts)))]
        return self._seen(), {"prompt": self._prompt}

    def step(self, action: np.int64) -> tuple[Seen, float, bool, bool, Infos]:
        """Write a token."""
        self._tokens.append(int(action))
        terminated = self._tokens[-1] == self.tokenizer.end
        truncated = not terminated and len(self._tokens) == self.longest
        reward, infos = 0.0, {}
        if terminated or truncated:
            text = self.render()
            reward = float(self.judge([text], [self._prompt])[0])
            infos = {"text": text}
        return self._seen(), reward, terminated, truncated, infos

    def render(self) -> str:
        """Give the text so far."""
        return self.tokenizer.decode(self._tokens)

    def _seen(self) -> Seen:
        seen = np.full(self.longest, self.tokenizer.size, np.int64)
        seen[: len(self._tokens)] = self._tokens
        return seen
