"""Film episodes of a policy that is asked for returns, with what came of them under the picture.

Each picture has under it the return that was asked for, what was got so far and what is left, a
bar of what was got with a mark at what was asked, and the timestep. The bar grows from 0; once more
is got than was asked its scale widens, so that it never stands still before the episode does.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from gymnasium.vector import VectorEnv
from jaxtyping import Bool, Int
from PIL import Image, ImageDraw, ImageFont

from dt.acting.film import Film, suffix, writing
from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.rollout import Tally, action_seeds, check_spaces
from dt.play.rendering import Draw, drawing
from dt.play.turns import play

HEIGHT, STRIP = 240, 44  # of a picture and of what stands under it, in pixels
MOST_FPS = 30  # of a film: of more steps a second of an environment's time some are left out
HOLD = 1.0  # seconds that the last picture stays
COLUMNS = 4  # pictures side by side
GAP = 4  # pixels between pictures side by side; even, as sizes of films are
SEAM = 0xAA  # their grey: on paper's white, white pictures would run into each other
PAPER, INK, PALE, GOT, OVER = "#ffffff", "#111111", "#dddddd", "#2563eb", "#ea580c"


@dataclass(frozen=True)
class Filmed:
    """What was written, and how fast."""

    files: list[Path]
    num_frames: int  # pictures that were rendered
    render_seconds: float
    seconds: float  # acting, drawing and encoding included

    def describe(self) -> str:
        """Say in one line how many pictures there are, and how fast they came."""
        rate = self.num_frames / max(self.render_seconds, 1e-9)
        return (
            f"{self.num_frames} pictures rendered at {rate:.0f} a second, {self.seconds:.1f} s in "
            f"all"
        )


class Account(NamedTuple):
    """A return that was asked for, what was got of it so far, and what is still asked for."""

    asked: float
    got: float
    left: float


def film(
    policy: ReturnConditionedPolicy,
    envs: VectorEnv,
    targets: list[float],
    seed: int,
    directory: Path,
) -> Filmed:
    """Film one episode of each target, all from the same start, and one of all side by side.

    Args:
        envs: one row a target, made with render_mode rgb_array.
        seed: of the environment; that of a card's first episode shows this episode.

    Raises:
        EnvironmentFault: when an environment breaks.
        ValueError: when nothing can be drawn here, in one line.
    """
    check_spaces(policy, envs.single_observation_space, envs.single_action_space)
    assert envs.num_envs == len(targets)
    wanted, seeds = np.asarray(targets, np.float64), np.full(len(targets), seed)
    requests = np.array(policy.requests(wanted))
    tally = Tally(wanted, seeds, policy.spec.transforms)
    per_second = float(envs.metadata.get("render_fps") or MOST_FPS)
    stride = max(1, round(per_second / MOST_FPS))
    fps = per_second / stride
    hold = round(HOLD * fps)
    files = _files(directory, targets, policy.options.expert is not None)
    directory.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()

    with ExitStack() as stack:
        draw = stack.enter_context(drawing(envs))
        camera = _Camera(draw, [stack.enter_context(writing(file, fps)) for file in files])

        def start(where: Bool[np.ndarray, " B"], episodes: Int[np.ndarray, " B"]) -> None:
            policy.reset(wanted, seeds=action_seeds(seeds), where=where)

        def act(observations: np.ndarray) -> np.ndarray:
            actions = policy.act(observations)
            clock = tally.lengths.max()
            if policy.options.expert is not None and clock == 0:  # what it chose to ask for
                requests[:] = policy.returns_to_go
            if clock % stride == 0:
                left = policy.returns_to_go
                for row in np.flatnonzero(~tally.ended).tolist():
                    account = Account(requests[row], tally.returns[row], left[row])
                    camera.shoot(row, account, tally.lengths[row])
                camera.shoot_all()
            return actions

        # An environment's row is its target's: there is no more than one episode a row.
        for step in play(envs, seeds, start, act):
            policy.observe(step.rewards)
            tally.add_step(step)
            for row in np.flatnonzero(step.ended).tolist():
                got, length = tally.returns[row], tally.lengths[row]
                account = Account(requests[row], got, requests[row] - got)
                camera.shoot(row, account, length, over=True, times=hold)
        camera.shoot_all(times=hold)
    seconds = time.perf_counter() - begin
    return Filmed(files, camera.num_frames, camera.render_seconds, seconds)


def _files(directory: Path, targets: list[float], chooses: bool) -> list[Path]:
    """Name the film of each target, and last that of all; equal names are numbered."""
    names = ["expert" if chooses else f"target-{target:.6g}" for target in targets]
    names = [
        f"{name}-{number}" if names.count(name) > 1 else name for number, name in enumerate(names)
    ]
    return [directory / f"{name}{suffix()}" for name in (*names, "all-targets")]


class _Camera:
    """Draws rows, each for its own film, and then all side by side; keeps count and time.

    Args:
        films: one a row, and last the one of all.
    """

    def __init__(self, draw: Draw, films: list[Film]):
        self._draw, self._films = draw, films
        self._shown: list[np.ndarray | None] = [None] * (len(films) - 1)
        self.num_frames, self.render_seconds = 0, 0.0

    def shoot(
        self, row: int, account: Account, timestep: int, over: bool = False, times: int = 1
    ) -> None:
        """Draw a row into its film, captioned as `captioned` has it."""
        before = time.perf_counter()
        picture = self._draw(row)
        self.render_seconds += time.perf_counter() - before
        self.num_frames += 1
        shown = self._shown[row] = captioned(picture, account, timestep, over)
        self._films[row].append(shown, times)

    def shoot_all(self, times: int = 1) -> None:
        """Put the newest picture of every row into the film of all."""
        self._films[-1].append(side_by_side(self._shown), times)


def captioned(
    picture: np.ndarray, account: Account, timestep: int, over: bool = False
) -> np.ndarray:
    """Bring a picture to its film's size, with the strip under it.

    Args:
        over: whether this is the episode's last picture.
    """
    width = max(HEIGHT, round(picture.shape[1] * HEIGHT / picture.shape[0] / 2) * 2)
    canvas = Image.new("RGB", (width, HEIGHT + STRIP), PAPER)
    size = (round(picture.shape[1] * HEIGHT / picture.shape[0]), HEIGHT)
    canvas.paste(Image.fromarray(picture).resize(size), ((width - size[0]) // 2, 0))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    pen.text((6, HEIGHT + 4), f"asked {_number(account.asked)}", INK, font)
    pen.text((width // 2, HEIGHT + 4), f"got {_number(account.got)}", INK, font, anchor="ma")
    pen.text((width - 6, HEIGHT + 4), f"left {_number(account.left)}", INK, font, anchor="ra")
    clock = f"over at t {timestep}" if over else f"t {timestep}"
    pen.text((width - 6, HEIGHT + 24), clock, INK, font, anchor="ra")
    _bar(pen, account, (6, HEIGHT + 25, width - 96, HEIGHT + 37))
    return np.asarray(canvas)


def _bar(pen: ImageDraw.ImageDraw, account: Account, box: tuple[int, int, int, int]) -> None:
    """Draw what was got, from 0, with a mark at what was asked; orange: more was got than that.

    Where all returns are negative, 0 stands on the right and the bar grows to the left.
    """
    x0, top, x1, bottom = box
    low, high = min(0.0, account.asked, account.got), max(0.0, account.asked, account.got)

    def place(value: float) -> int:
        return x0 + round((value - low) / (high - low or 1.0) * (x1 - x0))

    zero, end, asked = place(0.0), place(account.got), place(account.asked)
    pen.rectangle(box, PALE)
    if zero != end:
        over = account.got * np.sign(account.asked) > abs(account.asked)
        ends = (min(zero, end), top, max(zero, end), bottom)
        pen.rectangle(ends, OVER if over else GOT)
    if x0 < zero < x1:
        pen.line((zero, top, zero, bottom), INK)
    pen.line((asked, top - 3, asked, bottom + 3), INK, 2)


def side_by_side(pictures: list[np.ndarray | None]) -> np.ndarray:
    """Arrange pictures of one size in a grid with grey gaps, filled up with paper."""
    there = [picture for picture in pictures if picture is not None]
    blank = np.full_like(there[0], 255)
    columns = min(COLUMNS, len(pictures))
    cells = [blank if picture is None else picture for picture in pictures]
    cells += [blank] * (-len(cells) % columns)
    rows = [
        _with_gaps(cells[first : first + columns], axis=1)
        for first in range(0, len(cells), columns)
    ]
    return _with_gaps(rows, axis=0)


def _with_gaps(pictures: list[np.ndarray], axis: int) -> np.ndarray:
    """Join pictures along an axis, with strips of grey between them."""
    shape = list(pictures[0].shape)
    shape[axis] = GAP
    gap = np.full(shape, SEAM, pictures[0].dtype)
    joined = [part for picture in pictures for part in (gap, picture)][1:]
    return np.concatenate(joined, axis=axis)


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
