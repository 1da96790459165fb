"""Questions that evaluations ask of a run, and the file names of their answers."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from dt.acting.options import AS_TRAINED, ActingOptions, file_words

LONGEST = 40  # characters of a name's part; longer ones are counted and hashed


@dataclass(frozen=True)
class Question:
    """All that decides a card beside the run that is asked."""

    targets: tuple[str, ...]
    """Words, as of `parse_targets`."""
    episodes: int
    """Episodes for each target."""
    seed: int = 0
    """Decides the starts of all episodes."""
    checkpoint: str = "last"
    """last, best or an update's number."""
    options: ActingOptions = AS_TRAINED
    """How the policy acts."""
    env_id: str = ""
    """The environment, where it is another than the data's."""
    ood: float = 0.0
    """Reach of targets beyond the data; 0: none."""
    on_device: bool = False
    """Whether policy and environment run in one program on the device."""

    @property
    def name(self) -> str:
        """Name the question in a few words: the same question has the same name."""
        digits = self.checkpoint.isdecimal()
        parts = [f"update-{int(self.checkpoint)}" if digits else self.checkpoint]
        parts += [] if self.options.expert is not None else [_targets(self.targets)]
        parts += [f"ood{self.ood:.10g}"] if self.ood else []
        parts += [word for word in file_words(self.options.to_card()) if word != "ood"]
        parts += ["unclipped"] if not (self.options.clip or self.ood) else []
        parts += ["on-device"] if self.on_device else []
        parts += [_slug(self.env_id)] if self.env_id else []
        return "-".join([*parts, f"e{self.episodes}", f"s{self.seed}"])


def name_of_runs(run_dirs: list[Path]) -> str:
    """Name runs where their cards may lie beside those of others.

    Folders of one name in different places are told apart by four digits of a hash.
    """
    places = [run_dir.resolve() for run_dir in run_dirs]
    names = "-".join(_slug(place.name) for place in places)
    shown = names if len(names) <= LONGEST else f"{len(places)}-runs"
    return f"{shown}-{_digits('|'.join(map(str, places)))}"


def _targets(words: tuple[str, ...]) -> str:
    """Spell targets for a file's name: p5:p95:7 is p5-p95x7, and several are joined by _."""
    spelled = "_".join(map(_target, words))
    if len(spelled) <= LONGEST:
        return spelled
    return f"{len(words)}-targets-{_digits(spelled)}"


def _target(word: str) -> str:
    low, *others = (_number(part) for part in word.split(":"))
    return low if not others else f"{low}-{others[0]}x{'x'.join(others[1:])}"


def _number(part: str) -> str:
    """Spell a number in one way, so that 50 and 50.0 are the same question."""
    percent, digits = ("p", part[1:]) if part.startswith("p") else ("", part)
    try:
        return f"{percent}{float(digits):.12g}"
    except ValueError:
        return _slug(part)


def _slug(text: str) -> str:
    return re.sub(r"[^\w.-]", "-", text)


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:4]
