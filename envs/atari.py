"""Atari games as rows of one batch that give stacks of small grey frames.

Through ALE's own vector environment, which steps its rows on threads of C++: by default the newest
4 frames, each the brighter of the last two of 4 that an action lasts, grey and 84x84. It begins
episodes by itself; told to begin one with a seed it does so too, which is what is used here, so
that an episode depends on its seed alone.

For those who must see the screen (actors that were trained on it, films) a twin with the same seeds
and actions plays along, in colour and at full size. ALE has nothing random but what the seed
decides; that the two have played the same is checked at every step.
"""

from __future__ import annotations

from typing import Any, ClassVar

import ale_py
import gymnasium
import numpy as np
from ale_py.vector_env import AtariVectorEnv
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv

from dt.play.faults import Infos

# Rewards as the game gives them: a clipped return is not the score.
OURS: dict[str, object] = {"reward_clipping": False}
SCREEN: dict[str, object] = {
    "img_height": 210,
    "img_width": 160,
    "grayscale": False,
    "stack_num": 1,
    "maxpool": False,
}


class AtariRows(VectorEnv):
    """ALE's vector environment, that can also be reset by hand and drawn.

    Args:
        max_episode_steps: steps after which a row is truncated; None or -1: as many as the frames
            that ALE ends at.
        kwargs: what ALE's takes, such as frameskip, stack_num, repeat_action_probability.
    """

    # Read by who must know before making one; "autoreset_mode" is the one that was chosen.
    metadata: dict[str, Any] = {
        "autoreset_modes": tuple(AutoresetMode),
        "render_modes": ["rgb_array"],
        # Given one of these, the game is played as `gymnasium.make` makes it: screens, or RAM.
        "single_only": ("obs_type", "mode", "difficulty", "sound_obs"),
    }
    FRAMES_PER_SECOND: ClassVar[int] = 60

    def __init__(
        self,
        game: str,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.num_envs, self.render_mode = num_envs, render_mode
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self._by_hand = self.autoreset_mode is AutoresetMode.DISABLED
        mode = AutoresetMode.NEXT_STEP if self._by_hand else self.autoreset_mode
        common = {**OURS, "num_envs": num_envs, "autoreset_mode": mode.value, **kwargs}
        self._rows = AtariVectorEnv(game, **common)
        self._twin = AtariVectorEnv(game, **{**common, **SCREEN}) if render_mode else None
        self._screens: np.ndarray | None = None
        self._limit = np.inf if max_episode_steps in (None, -1) else max_episode_steps
        if self._limit < np.inf and not self._by_hand:
            raise ValueError(
                f"max_episode_steps is {max_episode_steps}, but rows that reset themselves end by "
                f"ALE's frames; give max_num_frames_per_episode, or autoreset_mode Disabled"
            )
        self._elapsed = np.zeros(num_envs, np.int64)
        self._ended = np.ones(num_envs, bool)
        self.metadata = {
            **type(self).metadata,
            "autoreset_mode": self.autoreset_mode,
            "render_fps": self.FRAMES_PER_SECOND / kwargs.get("frameskip", 4),
        }
        for name in ("observation_space", "action_space"):
            for space in (name, f"single_{name}"):
                setattr(self, space, getattr(self._rows, space))

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: Infos | None = None
    ) -> tuple[np.ndarray, Infos]:
        """Start episodes in all rows, or in those of `options["reset_mask"]`.

        Args:
            seed: one for each row, or the first row's, counting up; None: go on drawing.
        """
        if seed is None or isinstance(seed, int):
            first = seed
            seed = [None if first is None else first + row for row in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"seed has {len(seed)} numbers; give one for each of {self.num_envs}")
        mask = np.ones(self.num_envs, bool)
        if options and "reset_mask" in options:
            mask = options["reset_mask"]
        # ALE wants a number for the rows that begin alone, -1 for one of its own.
        chosen = [seed[row] for row in np.flatnonzero(mask)]
        seeds = np.array([-1 if one is None else one % 2**31 for one in chosen], np.int64)
        how: dict[str, Any] = {"seed": seeds, "options": {"reset_mask": mask}}
        observations, infos = self._rows.reset(**how)
        if self._twin is not None:
            self._screens = self._twin.reset(**how)[0]
        self._elapsed[mask], self._ended[mask] = 0, False
        return observations, infos

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Infos]:
        """Step every row by `frameskip` frames of the game."""
        if self._by_hand and self._ended.any():
            rows = np.flatnonzero(self._ended).tolist()
            raise ResetNeeded(f"rows {rows} have ended; reset them with a reset_mask")
        actions = np.ascontiguousarray(actions)
        observations, rewards, terminations, truncations, infos = self._rows.step(actions)
        if self._twin is not None:
            self._screens, *same, _ = self._twin.step(actions)
            for ours, theirs in zip((rewards, terminations, truncations), same, strict=True):
                assert np.array_equal(ours, theirs), "the twin plays another game"
        if self._by_hand:
            self._elapsed += 1
            truncations = truncations | (self._elapsed >= self._limit)
            self._ended = terminations | truncations
        return observations, rewards.astype(np.float64), terminations, truncations, infos

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Give the screens as they are, (210, 160, 3) bytes each; None without a render_mode."""
        if self._screens is None:
            return None
        return tuple(self._screens[:, 0])

    def close_extras(self, **kwargs: Any) -> None:
        self._rows.close()
        if self._twin is not None:
            self._twin.close()


def register_atari() -> None:
    """Let every game's vector environment be this one; `gymnasium.make` makes ALE's as before."""
    gymnasium.register_envs(ale_py)
    for spec in gymnasium.registry.values():
        if spec.vector_entry_point == "ale_py.vector_env:AtariVectorEnv":
            spec.vector_entry_point = f"{__name__}:AtariRows"
