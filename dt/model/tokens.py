"""Which tokens does a timestep hold, and in which order?"""

from __future__ import annotations

from dataclasses import dataclass

TOKENS = ("return", "observation", "action")


@dataclass(frozen=True)
class TokenLayout:
    """The tokens of one timestep, in order; the action stands last and is what is predicted.

    ("return", "observation", "action") is Chen et al. 2021; without the return it is behaviour
    cloning on the same transformer.
    """

    step: tuple[str, ...]

    def __post_init__(self) -> None:
        if (
            len(set(self.step)) != len(self.step)
            or not set(self.step) <= set(TOKENS)
            or "observation" not in self.step
            or self.step[-1:] != ("action",)
        ):
            raise ValueError(
                f"layout {str(self)!r}: join distinct tokens of {TOKENS} with '-', with an "
                f"observation and with the action last, such as 'return-observation-action'"
            )

    @classmethod
    def parse(cls, text: str) -> TokenLayout:
        return cls(tuple(text.split("-")))

    def __str__(self) -> str:
        return "-".join(self.step)

    @property
    def tokens_per_step(self) -> int:
        return len(self.step)

    @property
    def conditional(self) -> bool:
        """Whether a return stands in the sequence."""
        return "return" in self.step

    @property
    def action_predictor(self) -> int:
        """The token of a step whose output predicts the action: the one just before it."""
        return self.tokens_per_step - 2
