"""Options that a policy acts by: one frozen value, passed whole, and its entries on a card."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from dt.config import ModelConfig
from dt.model.heads import ReturnChoice
from dt.model.heads.sampling import Sampling
from dt.model.recipe import recipe_of
from dt.spec.spec import PolicySpec
from dt.words import there_are

PastEnd: TypeAlias = Literal["error", "clamp"]

# Entries of a card that say how its policy acted, in their order there.
CARD_KEYS = (
    "baseline",
    "deterministic",
    "temperature",
    "top_p",
    "expert",
    "calibrated",
    "clipped",
    "recomputed",
    "past_end",  # only where it is not 'error', as the first cards have it
    "guidance",  # only where there is any
    "asked",  # only where it is
    "steer",  # only where there is one
)
# Those among them that a request map was measured under and holds for.
MEASURED_KEYS = ("deterministic", "recomputed", "temperature", "top_p")

UNGUIDED = 1.0  # the weight of the condition that is the conditional policy itself


@dataclass(frozen=True)
class ActingOptions:
    """What is chosen anew each time that a policy acts; the weights stay as they are.

    Raises:
        ValueError: for a temperature or top_p that nothing can be drawn by, and a past_end that
            there is not.
    """

    deterministic: bool = False
    """Take the likeliest action instead of sampling."""
    temperature: float = 1.0
    """Of sampled actions: below 1 nearer to the likeliest."""
    top_p: float = 1.0
    """Sample among the likeliest actions that together have this probability, no others."""
    null: bool = False
    """Put the null token where the return would stand: the unconditional policy."""
    clip: bool = True
    """Show a return above all of the data's as the data's highest; False shows it as it is, an
    input that the model has never seen."""
    recompute: bool = False
    """Act on the last context_length timesteps, computed anew at every step, not from a cache:
    what a model whose recipe has no cache does anyway."""
    expert: ReturnChoice | None = None
    """The model chooses what to ask for at every step, from the returns that it expects, where its
    layout predicts them; targets are then ignored."""
    calibrated: bool = False
    """Targets are returns to achieve: ask for what the run's request map says brings them."""
    past_end: PastEnd = "error"
    """What happens past the longest timestep that the model has a position for, that of the longest
    episode in training or of the environment's limit: an error, or ("clamp") the agent goes on and
    its position stays the last one. A model has never seen that: expect less of it."""
    guidance: float | None = None
    """Weight w of what the return changes, u + w (c - u), where u is what the model says without a
    return and c with it (classifier-free guidance): 0 the unconditional policy, 1 the conditional
    one, above 1 the return counts for more than in the data. Each step costs two passes, in one
    batch. None: as the run has it, which is 1 where it has none."""
    guidance_enough: float | None = None
    """The weight once all that was asked for has come, where agents tend to go on playing; None:
    the same as before or, where guidance is None too, as the run has it."""
    enough_below: float = 0.03
    """All has come when less is left than this share of the highest return of the data; where that
    is not above zero, as with costs alone, it never has."""

    asked: bool = False
    """Targets are returns to achieve: give the input, request and weights of guidance, that the
    run's ask table says brings them."""

    steer: str = ""
    """A .steer file, made by a verb of `dt steer` for these weights, by which the policy acts."""

    def __post_init__(self) -> None:
        self.sampling  # noqa: B018 (raises for numbers that nothing can be drawn by)
        if self.past_end not in get_args(PastEnd):
            raise ValueError(f"past_end is {self.past_end!r}; give 'error' or 'clamp'")
        for name in ("guidance", "guidance_enough", "enough_below"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value < float("inf"):
                raise ValueError(f"{name} is {value}; give a finite number, 0 or more")
        if self.steer and (self.asked or self.calibrated or self.expert is not None):
            raise ValueError(
                "a steering file (steer) says what to ask for and how; leave asked, calibrated and "
                "expert out"
            )
        if self.asked and (self.null or self.is_guided or self.calibrated):
            raise ValueError(
                "an ask table (asked) chooses the request and the weights of guidance; leave "
                "null, guidance and calibrated out"
            )
        if self.null and self.is_guided:
            raise ValueError(
                "null is the unconditional policy, and guidance adds to it what a return changes; "
                "leave one of the two out (--baseline null, --guidance)"
            )

    @property
    def is_guided(self) -> bool:
        """Whether what a return changes counts for more or less than in the model itself."""
        return any(w not in (None, UNGUIDED) for w in (self.guidance, self.guidance_enough))

    @property
    def guidance_numbers(self) -> tuple[float, float, float]:
        """The weight, the weight once all that was asked for has come, and when it has."""
        weight = UNGUIDED if self.guidance is None else self.guidance
        enough = weight if self.guidance_enough is None else self.guidance_enough
        return weight, enough, self.enough_below

    @property
    def sampling(self) -> Sampling:
        """How actions are taken from what a head predicts."""
        return Sampling(self.deterministic, self.temperature, self.top_p)

    def changed(self, changes: Mapping[str, Any]) -> ActingOptions:
        """These options with other values of some fields.

        Raises:
            TypeError: for a name that is no field, with the nearest that is.
        """
        known = [each.name for each in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise TypeError(f"no acting option {name!r}; {there_are(name, known)}")
        return dataclasses.replace(self, **changes)

    def of_model(self, spec: PolicySpec) -> ActingOptions:
        """These options for one model: `recompute` only where there is a cache to do without,
        guidance as the run has it unless it is said.

        Raises:
            ValueError: for a null token or predicted returns that the model does not have.
        """
        recipe = recipe_of(spec.model)
        if self.null and not recipe.hidden_returns:
            raise ValueError(
                f"a model of recipe {spec.model.recipe} has no null token to put where the return "
                f"stands; leave null (--baseline null) out"
            )
        guided = self.is_guided or self.asked
        if guided and not spec.conditional:
            raise ValueError(
                f"layout {spec.model.layout} takes no return whose effect guidance could change; "
                f"leave guidance out"
            )
        if guided and not (recipe.hidden_returns and spec.is_guidable):
            raise ValueError(
                "guidance needs a model that was trained to act without a return too; this one's "
                "was never hidden: train with --model.return-dropout 0.15, of a recipe that has it"
            )
        if self.expert is not None and (self.null or spec.layout.return_predictor is None):
            raise ValueError(
                f"the model chooses returns (expert) where its layout predicts them, and they are "
                f"shown to it; this one's is {spec.layout}: train with --model.layout "
                f"observation-return-action"
            )
        of_model = dataclasses.replace(self, recompute=self.recompute and recipe.cached)
        is_said = (self.guidance, self.guidance_enough) != (None, None)
        if is_said or self.null or self.asked or self.expert is not None or spec.guidance is None:
            return dataclasses.replace(of_model, guidance=self.guidance_numbers[0])
        weight, enough = spec.guidance
        return dataclasses.replace(of_model, guidance=weight, guidance_enough=enough)

    def check_timestep(self, timestep: int, known: int) -> None:
        """Refuse to act at a timestep that is not below those `known`, unless it is clamped.

        Raises:
            ValueError: saying what can be done.
        """
        if timestep >= known and self.past_end == "error":
            raise ValueError(
                f"timestep {timestep} is past the longest this model knows, {known}; end the "
                f"episode there, train with a larger --model.max-timesteps, or keep the last "
                f"position with past_end='clamp' (--past-end clamp)"
            )

    def return_expectile(self, model: ModelConfig) -> float | None:
        """The number that `expert` goes by where the return head predicts no other: an expectile
        leaves nothing to choose."""
        chosen = self.expert is not None and model.return_head == "expectile"
        return model.return_expectile if chosen else None

    def to_card(self, return_expectile: float | None = None) -> dict[str, Any]:
        """The entries CARD_KEYS of a card, as JSON has them.

        Args:
            return_expectile: as of the method of that name.
        """
        expert = None if self.expert is None else dataclasses.asdict(self.expert)
        return {
            "baseline": "null" if self.null else None,
            "deterministic": self.deterministic,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "expert": expert if return_expectile is None else {"expectile": return_expectile},
            "calibrated": self.calibrated,
            "clipped": self.clip,
            "recomputed": self.recompute,
            **({} if self.past_end == "error" else {"past_end": self.past_end}),
            **({"guidance": self._guidance_entry()} if self.is_guided else {}),
            **({"asked": True} if self.asked else {}),
            **({"steer": self.steer} if self.steer else {}),
        }

    def _guidance_entry(self) -> dict[str, float]:
        weight, enough, below = self.guidance_numbers
        return {"weight": weight, "enough": enough, "below": below}


AS_TRAINED = ActingOptions()  # as training shows it the data: sampled, clipped, from the cache


def fields_of_card(card: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ActingOptions that `to_card` wrote, unchecked; an expert that went by an
    expectile has no fields of its own."""
    expert, guidance = card["expert"], card.get("guidance")
    guided: dict[str, Any] = {"guidance": UNGUIDED}
    if isinstance(guidance, dict):
        names = {"weight": "guidance", "enough": "guidance_enough", "below": "enough_below"}
        guided = {names[name]: value for name, value in guidance.items() if name in names}
    return {
        "deterministic": card["deterministic"],
        "temperature": card["temperature"],
        "top_p": card["top_p"],
        "null": card["baseline"] is not None,
        "clip": card["clipped"],
        "recompute": card["recomputed"],
        "expert": {} if isinstance(expert, dict) and "expectile" in expert else expert,
        "calibrated": card["calibrated"],
        "past_end": card.get("past_end", "error"),
        **guided,
        "asked": card.get("asked", False),
        "steer": card.get("steer", ""),
    }


def file_words(card: Mapping[str, Any]) -> list[str]:
    """What a card's options have otherwise than AS_TRAINED, as parts of a file's name."""
    words = [card["baseline"]] if card["baseline"] else []
    words += [name for name in ("deterministic", "calibrated") if card[name]]
    words += ["asked"] if card.get("asked") else []
    words += [] if card["clipped"] else ["ood"]
    words += _drawn(card, "{}-{:g}")
    words += ["recompute"] if card["recomputed"] else []
    words += [f"guidance-{word}" for word in _guidance(card)]
    words += [f"steer-{Path(card['steer']).stem}"] if card.get("steer") else []
    return words + (["past-end-clamp"] if "past_end" in card else [])


def title_words(card: Mapping[str, Any]) -> list[str]:
    """The same for a title; that returns are not clipped is said where they are shown."""
    words = [f"baseline {card['baseline']}"] if card["baseline"] else []
    words += ["asked by its table"] if card.get("asked") else []
    words += [name for name in ("calibrated", "deterministic") if card[name]]
    words += _drawn(card, "{} {:g}")
    words += ["window recomputed"] if card["recomputed"] else []
    words += [f"guidance {word}" for word in _guidance(card)]
    words += [f"steered by {Path(card['steer']).name}"] if card.get("steer") else []
    return words + (["positions clamped"] if "past_end" in card else [])


def _guidance(card: Mapping[str, Any]) -> list[str]:
    """The weights, the second only where it is another, and when it begins to count."""
    if "guidance" not in card:
        return []
    weight, enough, below = (card["guidance"][name] for name in ("weight", "enough", "below"))
    then = "" if enough == weight else f"-then-{enough:g}-below-{100 * below:g}%"
    return [f"{weight:g}{then}"]


def _drawn(card: Mapping[str, Any], form: str) -> list[str]:
    """How actions and returns were drawn, where not as usual."""
    words = [form.format(name, card[name]) for name in ("temperature", "top_p") if card[name] != 1]
    if card["expert"] is not None:
        named = {"expectile": "expert-expectile", "kappa": "expert-kappa", "num_samples": "best-of"}
        usual = {"num_samples": 1, "top_p": 1.0}
        words += [
            form.format(named.get(name, name), value)
            for name, value in card["expert"].items()
            if usual.get(name) != value
        ]
    return [word.replace("_", "-") for word in words]
