"""Token layouts: the tokens of a timestep, their order, and what each of them carries."""

from __future__ import annotations

from dataclasses import dataclass

PARTS = ("return", "observation", "action")
NAMED = {"fused": "return+observation+action"}


@dataclass(frozen=True)
class TokenLayout:
    """The tokens of one timestep, in order; each is the sum of its parts' vectors.

    ("return", "observation", "action") is Chen et al. 2021; without the return it is behaviour
    cloning on the same transformer. An action that stands alone at the end is the one that is
    predicted; as a part of an earlier token it is the one before it, which saves a token. In
    ("observation", "return", "action") the return, too, is predicted (Lee et al. 2022).
    """

    step: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        parts = [part for token in self.step for part in token]
        if (
            len(set(parts)) != len(parts)
            or not set(parts) <= set(PARTS)
            or "observation" not in parts
            or self.step[0] == ("action",)
        ):
            raise ValueError(
                f"layout {str(self)!r}: join distinct tokens of {PARTS} with '-', or with '+' into "
                f"one token, with an observation and no action before all else, such as "
                f"'return-observation-action' or 'fused', which is {NAMED['fused']!r}"
            )
        if "action" in parts and ("action",) in self.step[:-1]:
            raise ValueError(
                f"layout {str(self)!r}: an action that is a token stands last; the one before it "
                f"can be a part of another token, as in 'observation+action'"
            )

    @classmethod
    def parse(cls, text: str, conditioning: str = "token") -> TokenLayout:
        """
        Args:
            conditioning: 'added' puts the return into the observation's token, and 'adaln' takes
                it out of the sequence.
        """
        tokens = [tuple(token.split("+")) for token in NAMED.get(text, text).split("-")]
        layout = cls(tuple(tokens))
        if conditioning == "token":
            return layout
        if not layout.has("return"):
            raise ValueError(
                f"conditioning {conditioning!r}: layout {text!r} has no return to condition on; "
                f"name one that has, or leave the conditioning at 'token'"
            )
        added = ("return",) if conditioning == "added" else ()
        kept = [tuple(part for part in token if part != "return") for token in layout.step]
        merged = (added + token if "observation" in token else token for token in kept if token)
        return cls(tuple(merged))

    def __str__(self) -> str:
        return "-".join("+".join(token) for token in self.step)

    @property
    def tokens_per_step(self) -> int:
        return len(self.step)

    def has(self, part: str) -> bool:
        return any(part in token for token in self.step)

    def place_of(self, part: str) -> int:
        """Find which token of a step carries this part; -1 where none does."""
        return next((i for i, token in enumerate(self.step) if part in token), -1)

    @property
    def ends_with_action(self) -> bool:
        """Whether the action that was taken is the step's last token."""
        return self.step[-1] == ("action",)

    @property
    def carries_previous_action(self) -> bool:
        """Whether the action of the step before is a part of one of this step's tokens."""
        return self.has("action") and not self.ends_with_action

    @property
    def action_predictor(self) -> int:
        """The token of a step whose output predicts the action: the last before it."""
        return self.tokens_per_step - 1 - self.ends_with_action

    @property
    def return_predictor(self) -> int | None:
        """The token whose output predicts the return, where one follows the observation."""
        names = [token for token in self.step if token != ("action",)]
        if names[-1] == ("return",) and len(names) > 1:
            return len(names) - 2
        return None
