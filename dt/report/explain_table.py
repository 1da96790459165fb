"""What `explain` and `intervene` found, as tables."""

from __future__ import annotations

import math

import numpy as np

from dt.evaluation.parts import Estimate
from dt.report.sheet import Sheet, target_format
from dt.steering.explaining import Explained
from dt.steering.intervening import Intervened
from dt.steering.patching import KINDS, Patched


def explain_sheet(found: Explained) -> Sheet:
    """Each method's shares by modality, beside its two controls."""
    modalities = list(found.owed[0].shares)
    rows = [
        [
            each.method,
            *(f"{100 * each.shares.get(name, 0.0):.0f} %" for name in modalities),
            f"{each.random_correlation:+.2f}",
            f"{each.deletion.p_value:.2g}",
            "yes" if each.is_sound else "no",
        ]
        for each in found.owed
    ]
    whole = next((each.completeness for each in found.owed if each.completeness is not None), None)
    notes = [_edit_note(found, i) for i in range(len(found.edits))]
    if found.dose is not None:
        moved = found.dose.ranges
        notes.append(
            f"asked for all returns of the data, the action moves by {moved.mean():.3g} on average "
            f"(most moved number, of -1 to 1; of a choice its probability)"
        )
    if whole is not None:
        notes.append(f"integrated gradients add up to within {100 * whole:.2g} %")
    return Sheet(
        f"{found.answer}: what it is owed to",
        ["method", *modalities, "random weights", "deletion p", "sound"],
        rows,
        [*notes, *found.notes],
        "",
    )


def _edit_note(found: Explained, i: int) -> str:
    edit = found.edits[i]
    does = "flips it" if found.distance is None else f"moves it by {found.distance:g}"
    size = "none" if math.isnan(edit.size) else f"{edit.size:.3g} deviations (median)"
    return (
        f"smallest edit of {edit.of} that {does}: {size}, found in {100 * edit.reached:.0f} % of "
        f"contexts; a random or opposite one: {100 * edit.random_reached:.0f} %"
    )


def intervene_sheet(found: Intervened) -> Sheet:
    """Each target's mean returns with and without the edit, and the paired difference."""
    digits = target_format([row.target for row in found.rows])
    rows = [
        [
            format(row.target, digits),
            format(row.intact.mean(), digits),
            format(row.edited.mean(), digits),
            _with_interval(row.difference, digits),
        ]
        for row in found.rows
    ]
    slopes = [found.slope_intact, found.slope_edited]
    notes = [
        f"slope {name} {_with_interval(slope, '.3f')}"
        for name, slope in zip(("intact", "edited"), slopes, strict=True)
        if slope is not None
    ]
    same = "leaves every return as it was" if found.empty_is_identical else "CHANGES returns"
    notes.append(f"the empty intervention {same}, bit for bit")
    options = found.outcome.options
    end = options["last"] if options["last"] >= 0 else "the end"
    return Sheet(
        f"{options['how']} {found.point}, steps {options['first']} to {end}",
        ["target", "intact", "edited", "difference"],
        rows,
        notes,
        "",
    )


def patch_sheet(found: Patched) -> Sheet:
    """Where clean values restore most, of each kind of point."""
    rows = []
    for kind, shares in zip(KINDS, (found.residual, found.heads, found.mlp), strict=True):
        place = np.unravel_index(int(shares.argmax()), shares.shape)
        head = f", head {place[2]}" if shares.ndim == 3 else ""
        where = f"layer {place[0]}, {place[1]} steps before{head}"
        rows.append([kind, f"{shares.max():.3f}", where])
    untouched = "no bit changed" if found.untouched_before else "tokens CHANGED"
    return Sheet(
        f"clean values put back after {found.outcome.options['how']} {found.point}",
        ["point", "restores at most", "at"],
        rows,
        [
            f"{found.answer} changed by {found.effect:.3g} on average",
            f"all points at once restore {found.everything:.6f}; before a patch {untouched}",
        ],
        "",
    )


def _with_interval(value: Estimate, digits: str) -> str:
    low, high = value.ci95 or (value.value, value.value)
    return f"{format(value.value, digits)} ({format(low, digits)} to {format(high, digits)})"
