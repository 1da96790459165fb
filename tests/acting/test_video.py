"""Do films show each step that they should, with what is left of the return under it?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from PIL import Image
from walk import Walk, make_policy

import dt.acting.film
from dt.acting.rollout import run_episodes
from dt.acting.video import GAP, HEIGHT, SEAM, STRIP, Account, captioned, film, side_by_side

ROOT = Path(__file__).parents[2]
BLUE, ORANGE = (37, 99, 235), (234, 88, 12)


class Drawn(Walk):
    """A picture that says at which step of its episode it is."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}
    render_mode = "rgb_array"

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        self.clock = 0
        return super().reset(**kwargs)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.clock += 1
        return super().step(action)

    def render(self) -> Any:
        return np.full((60, 80, 3), 10 * self.clock, np.uint8)


def make_rows(count: int, env: type[Walk] = Drawn) -> SyncVectorEnv:
    return SyncVectorEnv([env] * count, autoreset_mode=AutoresetMode.DISABLED)


def colour_of(picture: np.ndarray) -> int:
    """Of the first pixel, which GIF's palette may shift a little."""
    return round(int(picture[0, 0, 0]) / 10)


def test_a_film_shows_every_step_of_the_card_s_first_episode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dt.acting.film, "find_spec", lambda name: None)  # GIF needs no encoder
    policy, targets = make_policy(), [1.0, 9.0]
    filmed = film(policy, make_rows(2), targets, 11, tmp_path / "films")
    names = ["target-1.gif", "target-9.gif", "all-targets.gif"]
    assert [file.name for file in filmed.files] == names
    assert sorted(file.name for file in (tmp_path / "films").iterdir()) == sorted(names)
    played = run_episodes(policy, make_rows(2), np.array(targets), np.array([11, 11]))
    for file, length in zip(filmed.files, played.lengths, strict=False):
        frames, clocks = 0, []
        with Image.open(file) as image:
            assert image.size == (320, HEIGHT + STRIP)  # of 80 x 60, made as high as films are
            for number in range(getattr(image, "n_frames", 1)):
                image.seek(number)
                assert image.info["duration"] % 50 == 0  # 20 a second; equal ones are joined
                frames += image.info["duration"] // 50
                clocks.append(colour_of(np.asarray(image.convert("RGB"))))
        assert clocks == list(range(length + 1))
        assert frames == length + 20  # every step, and a second of its end
    assert filmed.num_frames == (played.lengths + 1).sum()
    assert "pictures rendered at" in filmed.describe()
    with Image.open(filmed.files[2]) as image:
        assert image.size == (640 + GAP, HEIGHT + STRIP)


def test_the_bar_is_what_was_got_and_never_stands_still() -> None:
    picture = np.zeros((HEIGHT, HEIGHT, 3), np.uint8)

    def lengths(got: float, asked: float = 100.0) -> tuple[int, int, int]:
        """Pixels of the bar in its two colours, and where the mark is."""
        row = captioned(picture, Account(asked, got, asked - got), 3)[HEIGHT + 31]
        blue, orange = (int((row == colour).all(axis=1).sum()) for colour in (BLUE, ORANGE))
        return blue, orange, int((row == (17, 17, 17)).all(axis=1).argmax())

    full, half = lengths(100.0)[0], lengths(50.0)[0]
    assert full > 80 and half == pytest.approx(full / 2, abs=2) and lengths(0.0)[0] == 0
    assert lengths(100.0)[2] == lengths(50.0)[2]
    marks = [lengths(got)[2] for got in (100.0, 110.0, 150.0, 281.0)]
    assert marks == sorted(marks, reverse=True) and len(set(marks)) == 4
    assert all(lengths(got)[0] == 0 and lengths(got)[1] > 80 for got in (150.0, 281.0))
    assert lengths(-50.0, asked=-100.0)[0] == pytest.approx(half, abs=2)
    assert lengths(-150.0, asked=-100.0)[1] > 80  # more than was asked, of losses
    assert lengths(-20.0)[:2] == (pytest.approx(full / 6, abs=2), 0)
    lengths(0.0, asked=0.0)


def test_the_strip_says_asked_got_left_and_counts_on_to_the_end() -> None:
    picture = np.zeros((HEIGHT, HEIGHT, 3), np.uint8)

    def strip(asked: float, got: float, left: float, over: bool = False) -> np.ndarray:
        return captioned(picture, Account(asked, got, left), 3, over)[HEIGHT : HEIGHT + 20]

    first = strip(10.0, 2.0, 8.0)
    for other in (strip(20.0, 2.0, 8.0), strip(10.0, 3.0, 8.0), strip(10.0, 2.0, 7.0)):
        assert (first != other).any()
    assert (first == strip(10.0, 2.0, 8.0, over=True)).all()  # the same words when it is over


def test_side_by_side_fills_a_grid_with_gaps() -> None:
    pictures: list[np.ndarray | None] = [np.full((4, 6, 3), n, np.uint8) for n in range(5)]
    grid = side_by_side(pictures)
    assert grid.shape == (8 + GAP, 24 + 3 * GAP, 3) and GAP > 0 and GAP % 2 == 0
    assert grid[:: 4 + GAP, :: 6 + GAP, 0].tolist() == [[0, 1, 2, 3], [4, 255, 255, 255]]
    # Neither black nor white, which many environments' pictures are.
    assert (grid[4 : 4 + GAP] == SEAM).all() and (grid[:, 6 : 6 + GAP] == SEAM).all()
    assert 64 < SEAM < 192


def test_what_cannot_be_drawn_is_one_line(tmp_path: Path) -> None:
    class Blind(Drawn):
        def render(self) -> Any:
            raise OSError("no display\nat all")

    class Silent(Drawn):
        def render(self) -> Any:
            return None

    for env, said in ((Blind, "without a screen: OSError: no display "), (Silent, "NoneType")):
        with pytest.raises(ValueError, match=said) as caught:
            film(make_policy(), make_rows(1, env), [1.0], 0, tmp_path)
        assert "\n" not in str(caught.value)
        assert not list(tmp_path.iterdir())  # nothing half made is left


SIMULATION = """
from dt.play.rendering import drawing, without_screen
without_screen()
import envs, numpy as np
from dt.play.make import make_envs
rows = make_envs("Hopper-v4", 2, {"render_mode": "rgb_array"})
rows.reset(seed=[0, 1])
try:
    with drawing(rows) as draw:
        before = draw(0).copy()
        for _ in range(15):
            rows.step(np.full((2, 3), 0.3, np.float32))
        assert before.shape == (240, 240, 3) and before.std() > 5
        assert (draw(0) != before).any() and (draw(0) != draw(1)).any()
except ValueError as error:
    assert "cannot draw the environment without a screen" in str(error) and "\\n" not in str(error)
print("done")
"""


@pytest.mark.slow
def test_a_simulation_is_drawn_without_a_screen_or_says_in_one_line_why_not() -> None:
    """Whether there is a driver is the machine's matter. MuJoCo chooses when it is imported."""
    without = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "MUJOCO_GL")}
    words = [sys.executable, "-c", SIMULATION]
    ended = subprocess.run(words, cwd=ROOT, env=without, capture_output=True, text=True)
    assert ended.stdout.strip() == "done", ended.stderr
