"""A user's own behavior, from any module that can be imported: `--policy module:name`.

The name is a function over a batch of rows, such as

    def act(observations, rngs):
        noise = np.array([rng.normal() for rng in rngs])
        return (observations[:, 2] + 0.1 * noise > 0).astype(int)

Observations are the environments', (B, *shape), of a Dict or Tuple space a dictionary or tuple of
such; actions come back likewise. `rngs` is a NumPy generator a row, made by its episode's seed:
what draws from nothing else is the same in any row and after any interruption.

What remembers something between steps is a `Behavior` (see `dt.collect.behaviors.acting`) instead
of a function: it is told which rows begin an episode, and what came of the actions.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import gymnasium
import numpy as np

from dt.collect.behaviors.acting import Behavior, Generators
from dt.files import first_line, sha256_of
from dt.spaces.arrays import Tree
from dt.spaces.parts import leaves
from dt.spaces.records import build, to_tree

Act = Callable[[Tree, Generators], Tree]


def own_behavior(
    word: str, observation_space: gymnasium.Space, action_space: gymnasium.Space
) -> Behavior:
    """Load the function or `Behavior` that `module:name` names.

    Raises:
        ValueError: where the module cannot be imported, has no such name, or has something else
            by it; and from the behavior's `act` for actions that are not the space's.
    """
    name = word.partition(":")[2]
    module = _imported(word)
    found = getattr(module, name, None)
    if found is None:
        raise ValueError(f"--policy {word}: module {module.__name__} has no {name!r}")
    if isinstance(found, Behavior):
        behavior, act = found, found.act
    elif _takes_two(found):
        behavior = Behavior(word, found)

        def act(observations: np.ndarray, rngs: Generators) -> Tree:
            return found(to_tree(observation_space, observations), rngs)
    else:
        raise ValueError(
            f"--policy {word}: {name} is {_in_words(found)}; give a function of two arguments, "
            f"act(observations, rngs), or a dt.collect.behaviors.acting.Behavior"
        )
    file = getattr(module, "__file__", None)
    content = behavior.content or ("" if file is None else sha256_of(Path(file)))
    checked = _checked(word, act, action_space)
    return replace(behavior, name=word, act=checked, content=content)


def _imported(word: str) -> ModuleType:
    name = word.partition(":")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--policy {word}: {first_line(error)}; put the folder that holds it on PYTHONPATH, or "
            f"install it"
        ) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the user's module does while it is imported
        kind = type(error).__name__
        raise ValueError(
            f"--policy {word}: cannot import {name} ({kind}: {first_line(error)})"
        ) from error


def _takes_two(found: object) -> bool:
    """Tell whether this can be called with observations and generators."""
    if not callable(found):
        return False
    try:
        inspect.signature(found).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # what is built in may not say what it takes
        return True
    return True


def _in_words(found: object) -> str:
    if not callable(found):
        return f"of type {type(found).__name__}"
    return f"a function of {inspect.signature(found)}"


def _checked(word: str, act: Act, space: gymnasium.Space) -> Act:
    """Let `act` give arrays of the space's shapes and types; the first ones also lie inside it."""
    is_first = True

    def checked(observations: Tree, rngs: Generators) -> Tree:
        nonlocal is_first
        try:
            actions = act(observations, rngs)
        except (Exception, KeyboardInterrupt):
            raise
        except BaseException as error:  # SystemExit would end the collection without a word
            kind = type(error).__name__
            raise ValueError(f"--policy {word}: raised {kind}: {first_line(error)}") from error
        try:
            parts = {leaf.path: np.asarray(leaf.of(actions)) for leaf in leaves(space, False)}
        except (KeyError, IndexError, TypeError, ValueError) as error:
            kind = type(error).__name__
            raise ValueError(
                f"--policy {word}: its actions are none of {space} ({kind}: {first_line(error)})"
            ) from error
        for leaf in leaves(space, images=False):
            given, wanted = parts[leaf.path], (len(rngs), *leaf.shape)
            dtype = np.dtype(leaf.space.dtype)
            if given.shape != wanted or not np.can_cast(given.dtype, dtype, "same_kind"):
                raise ValueError(
                    f"--policy {word}: its actions{leaf.name and f'/{leaf.name}'} are "
                    f"{given.dtype} of shape {given.shape}; give {dtype} of {wanted}"
                )
            rows = given.astype(dtype)
            if is_first and not all(map(leaf.space.contains, rows)):
                raise ValueError(f"--policy {word}: its actions lie outside of {leaf.space}")
            parts[leaf.path] = rows
        is_first = False
        return build(space, lambda leaf: parts[leaf.path])

    return checked
