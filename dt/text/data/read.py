"""Read posts with scores, and pairs of answers of which one was chosen."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from dt.config.text import PostsConfig
from dt.text.data.columns import Columns, read_columns
from dt.text.data.posts import Pairs, Posts

SHP = ("history", "human_ref_A", "human_ref_B", "labels")
CHOSEN = ("chosen", "rejected")
SCORED = ("text", "score")


def read_posts(config: PostsConfig, source: str) -> Posts:
    """Read the posts of a file, by the columns that the configuration names.

    Raises:
        ValueError: naming the file, the row and the field that cannot be used, and how to mend it.
    """
    columns, notes = _chosen_rows(read_columns(Path(source)), config)
    if not len(columns):
        raise ValueError(f"{source}: holds no posts{_of(config)}")
    return Posts(
        name=source,
        texts=columns.texts(config.column, "--text.column"),
        scores=columns.numbers(config.score, "--text.score"),
        prompts=columns.texts(config.prompt, "--text.prompt") if config.prompt else (),
        groups=columns.texts(config.group, "--text.group") if config.group else (),
        times=columns.numbers(config.time, "--text.time") if config.time else None,
        notes=notes,
    )


def holds_pairs(source: str) -> bool:
    """Tell whether a file holds pairs by its columns: SHP's, or chosen and rejected answers."""
    columns = read_columns(Path(source))
    return any(all(name in columns for name in names) for names in (SHP, CHOSEN))


def read_pairs(source: str) -> Pairs:
    """Read pairs in the columns of SHP (Ethayarajh et al. 2022) or hh-rlhf (Bai et al. 2022).

    Raises:
        ValueError: naming the file and what it lacks.
    """
    columns = read_columns(Path(source))
    if all(name in columns for name in SHP):
        return _shp(columns, source)
    if all(name in columns for name in CHOSEN):
        return _chosen_rejected(columns, source)
    raise ValueError(
        f"{source}: holds no pairs; its columns must be {', '.join(CHOSEN)}, or SHP's "
        f"{', '.join(SHP)}"
    )


def _shp(columns: Columns, source: str) -> Pairs:
    labels = columns.numbers("labels", "SHP's")  # 1: answer A has more votes
    answers = [columns.texts(name, "SHP's") for name in ("human_ref_A", "human_ref_B")]
    first = labels > 0.5
    ratios = columns.numbers("score_ratio", "SHP's") if "score_ratio" in columns else None
    later = None
    if "created_at_utc_A" in columns and "created_at_utc_B" in columns:
        after = columns.numbers("created_at_utc_A", "SHP's")
        after = after - columns.numbers("created_at_utc_B", "SHP's")
        later = np.where(first, after, -after)
    prompts = columns.texts("history", "SHP's")
    groups = columns.texts("post_id", "SHP's") if "post_id" in columns else prompts
    return Pairs(
        name=source,
        prompts=prompts,
        chosen=tuple(a if one else b for a, b, one in zip(*answers, first, strict=True)),
        rejected=tuple(b if one else a for a, b, one in zip(*answers, first, strict=True)),
        ratios=ratios,
        later=later,
        groups=groups,
    )


def _chosen_rejected(columns: Columns, source: str) -> Pairs:
    """Split each pair into what both have in front, up to a turn's end, and the two answers."""
    found: list[tuple[str, str, str]] = []
    alike = empty = 0
    both = (columns.texts(name, name) for name in CHOSEN)
    named = columns.texts("prompt", "prompt") if "prompt" in columns else None
    for number, (one, other) in enumerate(zip(*both, strict=True)):
        if one.strip() == other.strip():
            alike += 1
            continue
        prompt = named[number] if named else _common_turns(one, other)
        cut = 0 if named else len(prompt)
        if not one[cut:].strip() or not other[cut:].strip():
            empty += 1
            continue
        found.append((prompt, one[cut:], other[cut:]))
    counts = ((alike, "whose answers are alike"), (empty, "with an empty answer"))
    notes = tuple(f"{count} pairs {what} are left out" for count, what in counts if count)
    prompts, chosen, rejected = zip(*found, strict=True) if found else ((), (), ())
    return Pairs(source, prompts, chosen, rejected, groups=prompts, notes=notes)


def _common_turns(one: str, other: str) -> str:
    common = os.path.commonprefix([one, other])
    end = max(common.rfind(mark) + len(mark) if mark in common else 0 for mark in TURNS)
    return common[:end]


TURNS = ("\n\nAssistant:", "\n\nHuman:")


def _chosen_rows(columns: Columns, config: PostsConfig) -> tuple[Columns, tuple[str, ...]]:
    """Take the rows that --text.only asks for."""
    if not config.only:
        return columns, ()
    name, _, value = config.only.partition("=")
    cells = columns.texts(name, "--text.only")
    kept = [row for row, cell in enumerate(cells) if cell == value]
    if not kept:
        seen = ", ".join(sorted(set(cells))[:5])
        raise ValueError(f"{columns.path}: no row has {config.only}; column {name!r} holds {seen}")
    return columns.rows(kept), (f"{len(kept)} of {len(cells)} rows have {config.only}",)


def _of(config: PostsConfig) -> str:
    return f" with {config.only}" if config.only else ""
