"""Do imports point one way, and does nothing in dt/ know an environment by its name?"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest

import dt
from dt.presets import PRESETS, RECIPES

ROOT = Path(__file__).parent.parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "dt").rglob("*.py"))
}
TREES = {module: ast.parse(path.read_text()) for module, path in FILES.items()}

# A package of others, and who may import it.
SOLE_OWNERS = {
    "orbax": {"dt.checkpoint"},
    "optax": {"dt.optimizer"},
    "jax.sharding": {"dt.sharding", "dt.devices"},
    "tyro": {"dt.cli", "dt.config", "dt.data.__main__", "dt.export"},
    "matplotlib": {"dt.plots"},
    "tensorboardX": {"dt.metrics"},
    "imageio_ffmpeg": {"dt.video"},
    "PIL": {"dt.video"},
    "safetensors": {"dt.interop.hugging_face"},
}
TRAINING = (
    "dt.learner",
    "dt.training",
    "dt.updates",
    "dt.optimizer",
    "dt.metrics",
    "dt.sharding",
    "dt.distributed",
    "dt.run_directory",
    "dt.profiling",
)
ABOVE_MODEL = ("dt.policy", "dt.rollout", "dt.evaluation", "dt.checkpoint", "dt.report", *TRAINING)
# What a module or folder must never import: the ground floor first, then the acting wing.
FORBIDDEN = {
    "dt.config": ("dt.model", "dt.spec", "dt.presets", *ABOVE_MODEL),
    "dt.presets": ("dt.model", "dt.spec", *ABOVE_MODEL),
    "dt.data": ("dt.config", "dt.presets", "dt.model", "dt.spec", *ABOVE_MODEL),
    "dt.spec": ABOVE_MODEL,
    "dt.model": ABOVE_MODEL,
    "dt.optimizer": ("dt.model", "dt.policy", "dt.learner", "dt.training", "dt.checkpoint"),
    "dt.sharding": ("dt.model", "dt.policy", "dt.learner", "dt.training", "dt.checkpoint"),
    "dt.learner": ("dt.policy", "dt.rollout", "dt.evaluation", "dt.checkpoint", "dt.training"),
    "dt.policy": ("dt.rollout", "dt.evaluation", "dt.checkpoint", *TRAINING),
    "dt.devices": ("dt.config", "dt.model", "dt.spec", *ABOVE_MODEL),
    "dt.rollout": ("dt.evaluation", "dt.checkpoint", *TRAINING),
    "dt.device_rollout": ("dt.evaluation", "dt.checkpoint", *TRAINING),
    "dt.playing": ("dt.config", "dt.model", "dt.spec", *ABOVE_MODEL),
    "dt.rendering": ("dt.config", "dt.model", "dt.spec", *ABOVE_MODEL),
    "dt.video": ("dt.evaluation", "dt.checkpoint", *TRAINING),
    "dt.faults": ("dt.config", "dt.model", "dt.spec", *ABOVE_MODEL),
    "dt.interop": ("dt.rollout", "dt.evaluation", "dt.checkpoint", *TRAINING),
    "dt.statistics": ("dt.config", "dt.data", "dt.model", "dt.spec", *ABOVE_MODEL),
    "dt.verdict": ("dt.model", "dt.spec", *ABOVE_MODEL),
    "dt.calibration": ("dt.model", "dt.spec", *ABOVE_MODEL),
    "dt.evaluation": ("dt.report", "dt.checkpoint", *TRAINING),
    "dt.aggregate": ("dt.report", "dt.checkpoint", *TRAINING),
    "dt.comparison": ("dt.report", "dt.checkpoint", *TRAINING),
}


def within(name: str, parent: str) -> bool:
    return name == parent or name.startswith(parent + ".")


def imports(tree: ast.AST) -> Iterator[str]:
    """Every dotted name that is imported, at the top or inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def attributes(tree: ast.AST) -> Iterator[str]:
    """Every dotted name that is used, such as jax.sharding.Mesh."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node)


def users_of(package: str) -> set[str]:
    return {
        module
        for module, tree in TREES.items()
        if any(within(name, package) for name in (*imports(tree), *attributes(tree)))
    }


@pytest.mark.parametrize(("package", "owners"), SOLE_OWNERS.items())
def test_a_package_is_imported_by_its_owners_alone(package: str, owners: set[str]) -> None:
    assert users_of(package), "nobody uses it"
    assert users_of(package) <= owners


@pytest.mark.parametrize("package", ["jax", "jaxlib", "flax"])
def test_data_is_numpy_only(package: str) -> None:
    assert not {module for module in users_of(package) if within(module, "dt.data")}


def test_dt_never_imports_what_stands_on_it() -> None:
    for package in ("envs", "tests", "train", "evaluate", "steer", "collect"):
        users = {m for m, tree in TREES.items() if any(within(n, package) for n in imports(tree))}
        assert not users, package


@pytest.mark.parametrize("module", FORBIDDEN)
def test_imports_point_one_way(module: str) -> None:
    assert any(within(name, module) for name in FILES), f"{module} is gone: change DESIGN.md"
    broken = [
        f"{name} imports {imported}"
        for name, tree in TREES.items()
        if within(name, module)
        for imported in imports(tree)
        if any(within(imported, other) for other in FORBIDDEN[module])
    ]
    assert not broken


def test_no_module_imports_itself_through_others() -> None:
    known = {
        module: {m for name in imports(tree) for m in FILES if within(name, m) and m != "dt"}
        for module, tree in TREES.items()
        if module not in ("dt", "dt.data")  # these two only hand on names of what is below them
    }
    while known:  # take away what imports nothing that is left
        free = {m for m, needed in known.items() if not needed & (known.keys() - {m})}
        assert free, f"a circle among {sorted(known)}"
        known = {m: needed for m, needed in known.items() if m not in free}


def test_no_file_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "common", "helpers", "helper", "misc"}
    assert not [module for module in FILES if drawers & set(module.split("."))]


def strings(tree: ast.AST) -> Iterator[str]:
    """Every string constant but docstrings, which are statements of their own."""
    documentation = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in documentation:
            if isinstance(node.value, str):
                yield node.value


def test_no_environment_is_known_by_name_outside_the_presets() -> None:
    names = {spec.name for spec in gymnasium.registry.values()} | set(PRESETS) - set(RECIPES)
    environments = [preset.evaluation.env for preset in PRESETS.values()]  # [module:]Name-v0, or ""
    names |= {env.rpartition(":")[2].partition("-")[0] for env in environments if env}
    assert {"CartPole", "Hopper", "HalfCheetah", "hopper"} <= names
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, sorted(names)))})(?:-v\d+)?\b", re.I)
    assert any(pattern.search(text) for text in strings(TREES["dt.presets"]))
    found = {
        f"{module}: {text}"
        for module, tree in TREES.items()
        if module != "dt.presets"
        for text in strings(tree)
        if pattern.search(text)
    }
    assert not found


@pytest.mark.parametrize("module", FILES)
def test_every_module_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(TREES[module])


def test_nothing_but_definitions_runs_at_import() -> None:
    """No arguments read, no devices asked for, no environment variable read (STYLE.md, 6)."""
    forbidden = {"jax.devices", "jax.local_devices", "os.environ", "os.getenv", "sys.argv"}
    for module, tree in TREES.items():
        for statement in tree.body:
            if not isinstance(statement, ast.FunctionDef | ast.ClassDef):
                assert not forbidden & set(attributes(statement)), module


def test_importing_dt_or_its_data_loads_no_jax() -> None:
    code = "import sys, dt, dt.data, dt.config, dt.data.minari; print('jax' in sys.modules)"
    words = [sys.executable, "-c", code]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"


def test_load_policy_is_there_without_naming_its_module() -> None:
    assert dt.load_policy.__module__ == "dt.checkpoint"


def test_an_unknown_name_of_dt_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'load_polcy'"):
        dt.load_polcy  # noqa: B018
