"""Films that grow picture by picture: mp4 by the extra `video`, else GIF."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dt.files import first_line, written_whole


def suffix() -> str:
    """Choose the kind of films that can be made here: .mp4 where imageio-ffmpeg is installed."""
    return ".mp4" if find_spec("imageio_ffmpeg") else ".gif"


class Film:
    """A file that grows by pictures of one size.

    Args:
        fps: pictures a second.
    """

    def __init__(self, file: Path, fps: float):
        self.file, self.fps = file, fps
        self._encoder: Generator[None, bytes, None] | None = None
        self._num_encoded = 0
        self._pictures: list[Image.Image] = []

    def append(self, picture: UInt8[np.ndarray, "height width 3"], times: int = 1) -> None:
        """Add a picture, shown for `times` frames.

        Raises:
            ValueError: when the encoder fails.
        """
        if self.file.suffix == ".gif":
            # The strip's colours and a game's are few; a byte each is a third of the memory.
            self._pictures += [Image.fromarray(picture).quantize(128)] * times
            return
        if self._encoder is None:
            self._encoder = self._start(*picture.shape[:2])
        try:
            for _ in range(times):
                self._encoder.send(picture.tobytes())
        except OSError as error:
            raise self._fault(first_line(error)) from error
        self._num_encoded += times

    def close(self) -> None:
        """Write what is not written yet, and wait for it.

        Raises:
            ValueError: when the encoder left pictures out.
        """
        if self._pictures:
            first, *others = self._pictures
            duration = round(1000 / self.fps)
            first.save(self.file, save_all=True, append_images=others, duration=duration, loop=0)
        if self._encoder is not None:
            self._encoder.close()
            self._check()

    def abandon(self) -> None:
        """Stop the encoder, if there is one, whatever became of the file."""
        if self._encoder is not None:
            self._encoder.close()

    def _start(self, height: int, width: int) -> Generator[None, bytes, None]:
        import imageio_ffmpeg

        # Else the package starts ffmpeg by a fork that runs Python's code, beside JAX's threads.
        os.environ.setdefault("IMAGEIO_FFMPEG_NO_PREVENT_SIGINT", "1")
        # Every player shows yuv420p; at this crf a few frames are still sharp when it is stopped.
        encoder = imageio_ffmpeg.write_frames(
            self.file,
            (width, height),
            fps=self.fps,
            codec="libx264",
            pix_fmt_in="rgb24",
            pix_fmt_out="yuv420p",
            quality=None,
            macro_block_size=1,  # sizes are even; a multiple of 16 would be another size
            ffmpeg_log_level="error",
            output_params=["-crf", "20"],
        )
        encoder.send(None)
        return encoder

    def _check(self) -> None:
        """The encoder's exit code is not told, so its pictures are counted."""
        import imageio_ffmpeg

        try:
            found, _ = imageio_ffmpeg.count_frames_and_secs(self.file)
        except RuntimeError as error:  # whose text is all that ffmpeg said
            raise self._fault("the encoder left no film") from error
        if found != self._num_encoded:
            raise self._fault(f"{found} of {self._num_encoded} pictures are in it")

    def _fault(self, reason: str) -> ValueError:
        return ValueError(
            f"{self.file}: cannot be encoded ({reason}); is there room on the disk? Without the "
            f"package imageio-ffmpeg films are GIF"
        )


@contextmanager
def writing(file: Path, fps: float) -> Iterator[Film]:
    """Write a film beside its place, which it takes when it is whole."""
    with written_whole(file) as beside:
        film = Film(beside, fps)
        try:
            yield film
            film.close()
        finally:
            film.abandon()
