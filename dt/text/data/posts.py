"""Posts, which are texts with a score each; and pairs of answers, of which one was chosen."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from dt.files import shown

MOST_CHARACTERS = 1 << 20  # of one text


@dataclass(frozen=True, eq=False)
class Posts:
    """P texts and the score of each."""

    name: str
    """Where they come from, for errors and cards."""
    texts: tuple[str, ...]
    scores: Float[np.ndarray, " P"]
    """Finite; as the file has them."""
    prompts: tuple[str, ...] = ()
    """What each text answers; empty: none of them has a prompt."""
    groups: tuple[str, ...] = ()
    """What each belongs to, such as an author or a thread; empty: each stands for itself."""
    times: Float[np.ndarray, " P"] | None = None
    """When each was posted, in any unit."""
    notes: tuple[str, ...] = ()
    """What was left out in reading, in sentences."""

    def __post_init__(self) -> None:
        if not self.texts:
            raise ValueError(f"{self.name}: holds no posts")
        for number, text in enumerate(self.texts):
            if not text.strip():
                raise ValueError(
                    f"{self.name}: post {number + 1} has no text; fill it or remove its row"
                )
            if len(text) > MOST_CHARACTERS:
                raise ValueError(
                    f"{self.name}: post {number + 1} has {len(text)} characters; cut it, or remove "
                    f"its row"
                )
        wrong = np.flatnonzero(~np.isfinite(self.scores))
        if len(wrong):
            raise ValueError(
                f"{self.name}: the score of post {wrong[0] + 1} is {self.scores[wrong[0]]}; give a "
                f"number, or remove its row"
            )
        if self.times is not None and not np.isfinite(self.times).all():
            where = int(np.flatnonzero(~np.isfinite(self.times))[0])
            raise ValueError(f"{self.name}: the time of post {where + 1} is no number; fill it")

    def __len__(self) -> int:
        return len(self.texts)

    def prompt(self, number: int) -> str:
        """Give the prompt of a post; empty where there is none."""
        return self.prompts[number] if self.prompts else ""

    def at(self, numbers: Int[np.ndarray, " n"]) -> Posts:
        """Take the posts of these numbers."""
        chosen = [int(number) for number in numbers]
        return dataclasses.replace(
            self,
            texts=tuple(self.texts[i] for i in chosen),
            scores=self.scores[numbers],
            prompts=tuple(self.prompts[i] for i in chosen) if self.prompts else (),
            groups=tuple(self.groups[i] for i in chosen) if self.groups else (),
            times=None if self.times is None else self.times[numbers],
        )

    @property
    def lengths(self) -> Int[np.ndarray, " P"]:
        """Count each text's characters."""
        return np.array([len(text) for text in self.texts])


@dataclass(frozen=True, eq=False)
class Pairs:
    """P pairs of answers to one prompt, of which people chose one."""

    name: str
    prompts: tuple[str, ...]
    chosen: tuple[str, ...]
    rejected: tuple[str, ...]
    ratios: Float[np.ndarray, " P"] | None = None
    """The chosen one's score over the other's; None where no scores are known."""
    later: Float[np.ndarray, " P"] | None = None
    """Time of the chosen one less that of the other; None where no times are known."""
    groups: tuple[str, ...] = ()
    """As of `Posts`; pairs of one prompt are of one group where there is no column."""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.chosen:
            raise ValueError(f"{self.name}: holds no pairs")
        for number, (one, other) in enumerate(zip(self.chosen, self.rejected, strict=True)):
            if not one.strip() or not other.strip():
                raise ValueError(
                    f"{self.name}: pair {number + 1} has an empty answer; fill it or remove it"
                )

    def __len__(self) -> int:
        return len(self.chosen)

    def at(self, numbers: Int[np.ndarray, " n"]) -> Pairs:
        """Take the pairs of these numbers."""
        chosen = [int(number) for number in numbers]

        def of(values: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(values[i] for i in chosen) if values else ()

        return dataclasses.replace(
            self,
            prompts=of(self.prompts),
            chosen=of(self.chosen),
            rejected=of(self.rejected),
            ratios=None if self.ratios is None else self.ratios[numbers],
            later=None if self.later is None else self.later[numbers],
            groups=of(self.groups),
        )


def quoted(text: str, most: int = 60) -> str:
    """Show a cell in an error, in one line and not too long."""
    return repr(shown(text[:most])) + ("..." if len(text) > most else "")
