"""How does it look when an agent is asked for a return? Films of episodes, with what is left of it.

Each picture has under it the target, what is still asked for as a number and as a bar (full: all
of the target; empty: it has been paid; to the left of the mark: more than was asked), and the
timestep. Films are mp4 where imageio-ffmpeg is installed (the extra `video`), else GIF.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from gymnasium.vector import VectorEnv
from PIL import Image, ImageDraw, ImageFont

from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.rollout import Tally, action_seeds, check_spaces
from dt.files import written_whole
from dt.play.rendering import drawing
from dt.play.turns import play

HEIGHT, STRIP = 240, 44  # of a picture and of what stands under it, in pixels
MOST_FPS = 30  # of a film: of more steps a second of an environment's time some are left out
HOLD = 1.0  # seconds that the last picture stays
COLUMNS = 4  # pictures side by side
PAPER, INK, PALE, LEFT, PAID = "#ffffff", "#111111", "#dddddd", "#2563eb", "#ea580c"


@dataclass(frozen=True)
class Filmed:
    """What was written, and how fast."""

    files: list[Path]
    num_frames: int  # pictures that were rendered
    render_seconds: float
    seconds: float  # acting, drawing and encoding included

    def describe(self) -> str:
        rate = self.num_frames / max(self.render_seconds, 1e-9)
        return (
            f"{self.num_frames} pictures rendered at {rate:.0f} a second, {self.seconds:.1f} s in "
            f"all"
        )


def film(
    policy: ReturnConditionedPolicy,
    envs: VectorEnv,
    targets: list[float],
    seed: int,
    directory: Path,
) -> Filmed:
    """One film an episode of each target, all from the same start, and one of all side by side.

    Args:
        envs: one row a target, made with render_mode rgb_array.
        seed: of the environment; that of a card's first episode shows this episode.

    Raises:
        EnvironmentFault: when an environment breaks.
        ValueError: when nothing can be drawn here, in one line.
    """
    check_spaces(policy, envs.single_observation_space, envs.single_action_space)
    assert envs.num_envs == len(targets)
    asked, seeds = np.asarray(targets, np.float64), np.full(len(targets), seed)
    requests = np.array(policy.requests(asked))
    tally = Tally(asked, seeds, policy.spec.transforms)
    per_second = float(envs.metadata.get("render_fps") or MOST_FPS)
    stride = max(1, round(per_second / MOST_FPS))
    fps = per_second / stride
    suffix = ".mp4" if find_spec("imageio_ffmpeg") else ".gif"
    names = ["expert" if policy.options.expert else f"target-{target:.6g}" for target in targets]
    names = [
        f"{name}-{number}" if names.count(name) > 1 else name for number, name in enumerate(names)
    ]
    files = [directory / f"{name}{suffix}" for name in (*names, "all-targets")]
    directory.mkdir(parents=True, exist_ok=True)
    shown: list[np.ndarray | None] = [None] * len(targets)
    begin, render_seconds, num_frames = time.perf_counter(), 0.0, 0

    with ExitStack() as stack:
        draw = stack.enter_context(drawing(envs))
        films = [stack.enter_context(writing(file, fps)) for file in files]

        def picture(row: int, left: float, over: bool = False) -> np.ndarray:
            nonlocal render_seconds, num_frames
            before = time.perf_counter()
            rendered = draw(row)
            render_seconds += time.perf_counter() - before
            num_frames += 1
            came = tally.returns[row] if over else None
            return captioned(rendered, requests[row], left, tally.lengths[row], came)

        def start(where: np.ndarray, episodes: np.ndarray) -> None:
            policy.reset(asked, seeds=action_seeds(seeds), where=where)

        def act(observations: np.ndarray) -> np.ndarray:
            actions = policy.act(observations)
            clock = tally.lengths.max()
            if policy.options.expert is not None and clock == 0:  # what it chose to ask for
                requests[:] = policy.returns_to_go
            if clock % stride == 0:
                left = policy.returns_to_go
                for row in np.flatnonzero(~tally.ended):
                    shown[row] = picture(int(row), left[row])
                    films[row].append(shown[row])
                films[-1].append(side_by_side(shown))
            return actions

        # An environment's row is its target's: there is no more than one episode a row.
        for step in play(envs, seeds, start, act):
            policy.observe(step.rewards)
            tally.add_step(step)
            for row in np.flatnonzero(step.ended):
                shown[row] = picture(int(row), requests[row] - tally.returns[row], over=True)
                films[row].append(shown[row], times=round(HOLD * fps))
        films[-1].append(side_by_side(shown), times=round(HOLD * fps))
    return Filmed(files, num_frames, render_seconds, time.perf_counter() - begin)


def captioned(
    picture: np.ndarray, target: float, left: float, timestep: int, came: float | None = None
) -> np.ndarray:
    """The picture at its film's size, with the strip under it.

    Args:
        came: what the episode came to, once it is over.
    """
    width = max(HEIGHT, round(picture.shape[1] * HEIGHT / picture.shape[0] / 2) * 2)
    canvas = Image.new("RGB", (width, HEIGHT + STRIP), PAPER)
    size = (round(picture.shape[1] * HEIGHT / picture.shape[0]), HEIGHT)
    canvas.paste(Image.fromarray(picture).resize(size), ((width - size[0]) // 2, 0))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    left_text = f"left {_number(left)}" if came is None else f"return {_number(came)}"
    clock = f"t {timestep}" if came is None else f"over at t {timestep}"
    pen.text((6, HEIGHT + 4), f"target {_number(target)}", INK, font)
    pen.text((width - 6, HEIGHT + 4), left_text, INK, font, anchor="ra")
    pen.text((width - 6, HEIGHT + 24), clock, INK, font, anchor="ra")
    _bar(pen, left / target if target else 0.0, (6, HEIGHT + 25, width // 2, HEIGHT + 37))
    return np.asarray(canvas)


def _bar(pen: ImageDraw.ImageDraw, share: float, box: tuple[int, int, int, int]) -> None:
    """What is left as a share of the target; a mark stands at none."""
    x0, top, x1, bottom = box
    zero = x0 + (x1 - x0) // 6
    end = zero + round(float(np.clip(share, -0.2, 1.0)) * (x1 - zero))
    pen.rectangle(box, PALE)
    pen.rectangle((min(zero, end), top, max(zero, end), bottom), LEFT if share > 0 else PAID)
    pen.line((zero, top - 2, zero, bottom + 2), INK)


def side_by_side(pictures: list[np.ndarray | None]) -> np.ndarray:
    """A grid of pictures of one size, filled up with paper."""
    there = [picture for picture in pictures if picture is not None]
    blank = np.full_like(there[0], 255)
    columns = min(COLUMNS, len(pictures))
    cells = [blank if picture is None else picture for picture in pictures]
    cells += [blank] * (-len(cells) % columns)
    rows = [np.concatenate(cells[i : i + columns], axis=1) for i in range(0, len(cells), columns)]
    return np.concatenate(rows)


class Film:
    """A file that grows by pictures of one size."""

    def __init__(self, file: Path, fps: float):
        self.file, self.fps = file, fps
        self._encoder: subprocess.Popen[bytes] | None = None
        self._pictures: list[Image.Image] = []

    def append(self, picture: np.ndarray | None, times: int = 1) -> None:
        assert picture is not None
        if self.file.suffix == ".gif":
            # The strip's colours and a game's are few; a byte each is a third of the memory.
            self._pictures += [Image.fromarray(picture).quantize(128)] * times
            return
        if self._encoder is None:
            self._encoder = self._start(*picture.shape[:2])
        assert self._encoder.stdin is not None
        try:
            self._encoder.stdin.write(picture.tobytes() * times)
        except BrokenPipeError:
            self.close()

    def close(self) -> None:
        """
        Raises:
            ValueError: when the encoder failed, with its reason.
        """
        if self._pictures:
            first, *others = self._pictures
            duration = round(1000 / self.fps)
            first.save(self.file, save_all=True, append_images=others, duration=duration, loop=0)
        if self._encoder is not None:
            _, said = self._encoder.communicate()
            if self._encoder.returncode:
                reason = said.decode(errors="replace").strip().splitlines() or ["no reason given"]
                raise ValueError(f"{self.file}: cannot be encoded ({reason[-1]})")

    def _start(self, height: int, width: int) -> subprocess.Popen[bytes]:
        import imageio_ffmpeg

        words = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", "-an"]
        words += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
        words += ["-r", f"{self.fps:g}", "-i", "-"]
        # Every player shows this; a few frames of it are still sharp when it is stopped.
        words += ["-c:v", "libx264", "-crf", "20", "-pix_fmt", "yuv420p", str(self.file)]
        return subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE)


@contextmanager
def writing(file: Path, fps: float) -> Iterator[Film]:
    """Give a film that is at its place when it is whole."""
    with written_whole(file) as beside:
        film = Film(beside, fps)
        yield film
        film.close()


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
