"""Draw environments without a screen, and fast: MuJoCo's without shadows, others as they can.

Gymnasium draws a MuJoCo task with shadows and multisampling, each row in a context of its own; in
software that is 6 to 8 frames a second. One small context for all rows, without both, draws 98.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from gymnasium.vector import SyncVectorEnv, VectorEnv

from dt.files import first_line

SIZE = 240  # of a simulation's picture, in both directions

Draw = Callable[[int], np.ndarray]  # a row -> its picture, (height, width, 3) bytes


def without_screen() -> None:
    """Let MuJoCo draw where there is no display; to be called before it is imported."""
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")


@contextmanager
def drawing(envs: VectorEnv) -> Iterator[Draw]:
    """Draw pictures of the rows of environments that were made with render_mode rgb_array.

    Raises:
        ValueError: in one line, when nothing can be drawn here.
    """
    separate = list(envs.envs) if isinstance(envs, SyncVectorEnv) else []
    rows: list[Any] = [env.unwrapped for env in separate]
    if rows and all(hasattr(row, "mujoco_renderer") for row in rows):
        with in_one_line():
            renderer, draw = _simulations(rows)
        try:
            yield draw
        finally:
            renderer.close()
        return

    def draw_row(row: int) -> np.ndarray:
        with in_one_line():
            picture: object = separate[row].render() if separate else (envs.render() or ())[row]
        if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(
                f"cannot draw the environment: it renders {type(picture).__name__}, not a picture "
                f"of bytes (height, width, 3)"
            )
        return picture

    yield draw_row


def _simulations(rows: list[Any]) -> tuple[Any, Draw]:
    """Make one renderer for rows of one model, with the camera that Gymnasium would use."""
    import mujoco

    model = rows[0].model
    model.vis.quality.offsamples = 0  # read when the renderer is made
    renderer = mujoco.Renderer(model, SIZE, SIZE)
    for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
        renderer.scene.flags[flag] = 0
    camera = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(model, camera)
    for name, value in (rows[0].mujoco_renderer.default_cam_config or {}).items():
        if isinstance(value, np.ndarray):
            getattr(camera, name)[:] = value
        else:
            setattr(camera, name, value)
    if camera.trackbodyid > 0:  # otherwise a runner leaves the picture
        camera.type = mujoco.mjtCamera.mjCAMERA_TRACKING

    def draw(row: int) -> np.ndarray:
        renderer.update_scene(rows[row].data, camera)
        return renderer.render()

    return renderer, draw


@contextmanager
def in_one_line() -> Iterator[None]:
    """Say in one line what a missing driver or package leads to, each library in its own way."""
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        asked = os.environ.get("MUJOCO_GL") or "unset"
        raise ValueError(
            f"cannot draw the environment without a screen: {type(error).__name__}: "
            f"{first_line(error)} (MUJOCO_GL is {asked}); MuJoCo's need EGL (Debian: libegl1, "
            f"libgl1-mesa-dri) or MUJOCO_GL=osmesa, Gymnasium's own the package pygame-ce"
        ) from error
