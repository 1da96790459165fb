"""Does a film hold all of its pictures, and leave nothing where it cannot?"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from dt.acting.film import writing


def test_an_mp4_holds_every_picture(tmp_path: Path) -> None:
    encoder = pytest.importorskip("imageio_ffmpeg")
    picture = np.zeros((62, 82, 3), np.uint8)  # even, but no multiples of 16
    with writing(tmp_path / "film.mp4", 12.5) as film:
        film.append(picture)
        film.append(picture + 200, times=4)
    assert [file.name for file in tmp_path.iterdir()] == ["film.mp4"]
    frames, seconds = encoder.count_frames_and_secs(tmp_path / "film.mp4")
    assert frames == 5 and seconds == pytest.approx(0.4, abs=0.05)
    words = [encoder.get_ffmpeg_exe(), "-v", "error", "-i", str(tmp_path / "film.mp4")]
    words += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(words, capture_output=True, check=True).stdout
    pictures = np.frombuffer(raw, np.uint8).reshape(5, 62, 82, 3)
    means = pictures.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(means, [0, 200, 200, 200, 200], atol=3)


def test_what_cannot_be_encoded_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    odd = np.zeros((61, 81, 3), np.uint8)  # which this kind of film cannot have
    with pytest.raises(ValueError, match="film.mp4: cannot be encoded") as caught:
        with writing(tmp_path / "film.mp4", 10.0) as film:
            film.append(odd)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
