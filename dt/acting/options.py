"""How a policy acts: one frozen value that is passed whole and kept on the card."""

from __future__ import annotations

from dataclasses import dataclass

from dt.model.heads import ReturnChoice


@dataclass(frozen=True)
class ActingOptions:
    """What is chosen anew each time that a policy acts; the weights stay as they are.

    Raises:
        ValueError: for a temperature or top_p that nothing can be drawn by, and for choices that
            contradict each other.
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
    """Show a return above all of the data's as the data's highest."""
    recompute: bool = False
    """Act on the last context_length timesteps, computed anew at every step, not from a cache."""
    expert: ReturnChoice | None = None
    """The model chooses what to ask for at every step, where its layout predicts returns."""
    calibrated: bool = False
    """Targets are returns to achieve: ask for what the run's request map says brings them."""
