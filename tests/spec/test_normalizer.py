"""Numbers come to the model's units and back, and what is constant stays finite."""

from __future__ import annotations

import numpy as np
import pytest

from dt.spec.normalizer import Normalizer


def test_a_normalizer_gives_mean_zero_and_deviation_one() -> None:
    values = np.random.default_rng(0).normal([5.0, -300.0], [0.1, 20.0], size=(500, 2))
    scaled = Normalizer.of(values.mean(axis=0), values.std(axis=0))(values)
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-3)
    np.testing.assert_allclose(scaled.std(axis=0), 1.0, rtol=1e-3)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6 + 0.1])
def test_a_constant_feature_gets_scale_1_whatever_its_mean_rounds_to(constant: float) -> None:
    values = np.stack([np.full(1001, constant), np.arange(1001.0)], axis=1)
    normalizer = Normalizer.of(values.mean(axis=0), values.std(axis=0))
    assert normalizer.scale[0] == 1.0
    np.testing.assert_allclose(normalizer(values)[:, 0], 0.0, atol=0.1)


def test_invert_undoes_a_normalizer() -> None:
    values = np.random.default_rng(1).normal(3.0, 4.0, size=(20, 3)).astype(np.float32)
    normalizer = Normalizer.of(values.mean(axis=0), values.std(axis=0))
    assert not np.allclose(normalizer(values), values)
    np.testing.assert_allclose(normalizer.invert(normalizer(values)), values, rtol=1e-5, atol=1e-5)


def test_the_identity_changes_nothing() -> None:
    values = np.array([[1.5, -2.0]], np.float32)
    np.testing.assert_array_equal(Normalizer.identity((2,))(values), values)
