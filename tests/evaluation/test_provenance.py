"""A card names what its numbers depend on."""

from __future__ import annotations

from dt.evaluation.provenance import code_versions


def test_versions_name_what_decides_a_number() -> None:
    assert {"python", "jax", "flax", "dt-steer"} <= code_versions().keys()
