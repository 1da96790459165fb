"""Do imports point one way, and does nothing in dt/ know an environment by its name?"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest

import dt
from dt.config.presets import PRESETS

ROOT = Path(__file__).parent.parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "dt").rglob("*.py"))
}
TREES = {module: ast.parse(path.read_text()) for module, path in FILES.items()}

# The rooms of dt/ in one line: a room imports those to its left, and never one to its right.
LINE = (
    "words",  # of messages: names that are near, flags as arguments
    "files",  # a file: written whole, locked, hashed
    "spaces",  # what an observation or an action can be
    "data",  # logged episodes, and the batches cut out of them
    "config",  # what can be chosen
    "spec",  # between the environment's numbers and the model's
    "parallel",  # devices and processes
    "model",  # tokens -> transformer -> heads
    "play",  # environments step
    "acting",  # a policy acts
    "checkpoint",  # what outlives the process
    "training",  # from episodes to weights
    "collect",  # behaviours -> episodes
    "evaluation",  # returns -> numbers
    "steering",  # which input makes the wanted output
    "report",  # words and pictures
    "text",  # texts whose votes are returns, by a language model
    "cli",  # command lines
    "api",  # the Python interface
    "__main__",
)

# A package of others, and the rooms or files that may import it.
SOLE_OWNERS = {
    "orbax": {"dt.checkpoint.arrays"},
    "optax": {"dt.training", "dt.steering.search"},
    "jax.sharding": {"dt.parallel"},
    "tyro": {"dt.cli", "dt.config"},
    "matplotlib": {
        "dt.report.plots",
        "dt.report.contest_plots",
        "dt.report.steering_plots",
        "dt.report.search_plots",
        "dt.report.explain_plots",
    },
    "tensorboardX": {"dt.training.trackers"},
    "wandb": {"dt.training.trackers"},
    "imageio_ffmpeg": {"dt.acting.film"},
    "PIL": {"dt.data.formats.minari_checks", "dt.acting.video", "dt.acting.film"},
    "safetensors": {"dt.checkpoint.hugging_face", "dt.text.pretrained"},
    "gguf": {"dt.text.pretrained.gguf_file"},
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


@pytest.mark.slow
@pytest.mark.parametrize(("package", "owners"), SOLE_OWNERS.items())
def test_a_package_is_imported_by_its_owners_alone(package: str, owners: set[str]) -> None:
    users = users_of(package)
    assert users, "nobody uses it"
    assert not {user for user in users if not any(within(user, owner) for owner in owners)}


@pytest.mark.parametrize("package", ["jax", "jaxlib", "flax"])
def test_data_is_numpy_only(package: str) -> None:
    assert not {module for module in users_of(package) if within(module, "dt.data")}


def test_dt_never_imports_what_stands_on_it() -> None:
    for package in ("envs", "tests", "train", "evaluate", "steer", "collect"):
        users = {m for m, tree in TREES.items() if any(within(n, package) for n in imports(tree))}
        assert not users, package


def test_dt_imports_nothing_that_only_some_systems_have() -> None:
    for package in ("fcntl", "grp", "msvcrt", "pwd", "resource", "termios"):
        assert not {
            m for m, tree in TREES.items() if any(within(n, package) for n in imports(tree))
        }


def room(module: str) -> str:
    """The room a module stands in: dt.data.store.rows stands in data."""
    return module.split(".")[1] if "." in module else ""


def arrows() -> dict[tuple[str, str], list[str]]:
    """Which room imports which, and the import lines that do."""
    found: dict[tuple[str, str], list[str]] = {}
    for module, tree in TREES.items():
        for name in imports(tree):
            if within(name, "dt") and room(name) != room(module) and module != "dt":
                found.setdefault((room(module), room(name)), []).append(f"{module}: {name}")
    return found


def test_every_room_stands_in_the_line() -> None:
    assert {room(module) for module in FILES if module != "dt"} == set(LINE)


def test_imports_point_one_way() -> None:
    """`python tests/test_architecture.py` prints the line and its arrows."""
    place = {name: number for number, name in enumerate(LINE)}
    up = {
        f"{one} -> {other}": lines
        for (one, other), lines in arrows().items()
        if place[other] > place[one]
    }
    assert not up


def test_no_module_imports_itself_through_others() -> None:
    """A package's door hands on names of what is within, which does not count as going back."""
    known = {
        module: {
            other
            for name in imports(tree)
            for other in FILES
            if within(name, other) and not within(module, other)
        }
        for module, tree in TREES.items()
        if module != "dt"
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
    names = {spec.name for spec in gymnasium.registry.values()}
    names |= {name for name, preset in PRESETS.items() if preset.evaluation.env}
    environments = [preset.evaluation.env for preset in PRESETS.values()]  # [module:]Name-v0, or ""
    names |= {env.rpartition(":")[2].partition("-")[0] for env in environments if env}
    assert {"CartPole", "Hopper", "HalfCheetah", "cartpole", "hopper", "door"} <= names
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, sorted(names)))})(?:-v\d+)?\b", re.I)
    assert any(pattern.search(text) for text in strings(TREES["dt.config.presets"]))
    found = {
        f"{module}: {text}"
        for module, tree in TREES.items()
        if module != "dt.config.presets"
        for text in strings(tree)
        if pattern.search(text)
    }
    assert not found


@pytest.mark.parametrize("module", FILES)
def test_every_module_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(TREES[module])


def test_nothing_but_definitions_runs_at_import() -> None:
    """No arguments read, no devices asked for, no environment variable read (docs/design.md)."""
    forbidden = {"jax.devices", "jax.local_devices", "os.environ", "os.getenv", "sys.argv"}
    for module, tree in TREES.items():
        for statement in tree.body:
            if not isinstance(statement, ast.FunctionDef | ast.ClassDef):
                assert not forbidden & set(attributes(statement)), module


def test_importing_dt_or_its_data_loads_no_jax() -> None:
    code = "import sys, dt, dt.data, dt.config, dt.data.formats.minari; print('jax' in sys.modules)"
    words = [sys.executable, "-c", code]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"


def test_load_policy_is_there_without_naming_its_module() -> None:
    assert dt.load_policy.__module__ == "dt.checkpoint.load"


def test_an_unknown_name_of_dt_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'load_polcy'"):
        dt.load_polcy  # noqa: B018


def test_the_package_holds_every_folder_and_nobody_s_envs() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {name for name, path in FILES.items() if path.name == "__init__.py"}
    assert set(setuptools["packages"]) == folders | {"dt_envs"}


def print_line() -> None:
    """The line of rooms, what each imports, and the longest files and functions."""
    place = {name: number for number, name in enumerate(LINE)}
    found = arrows()
    print(" < ".join(LINE))
    for one in LINE:
        below = [other for other in LINE if (one, other) in found]
        up = [other for other in below if place[other] > place[one]]
        note = f"   POINTS UP: {', '.join(up)}" if up else ""
        print(f"{one:>10} imports {', '.join(below) or 'none of them'}{note}")
    lengths = sorted(((len(path.read_text().splitlines()), m) for m, path in FILES.items()))
    print("\nlongest files: " + ", ".join(f"{m} {n}" for n, m in reversed(lengths[-10:])))
    functions = sorted(
        (node.end_lineno - node.lineno + 1, f"{module}.{node.name}")  # type: ignore[operator]
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    )
    print("longest functions: " + ", ".join(f"{m} {n}" for n, m in reversed(functions[-10:])))
    words = [word for path in FILES.values() for word in re.findall(r"\w+", path.read_text())]
    print(f"the word Any in dt: {words.count('Any')}")


if __name__ == "__main__":
    print_line()
