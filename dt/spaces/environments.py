"""Find out which environments can be made here, and what their spaces are.

What a file says of an environment runs nothing: an id without a module is looked up among those
that installed packages registered, one with a module imports it only where the user names it, and
arguments that name files or code are not handed on.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import gymnasium
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import AutoresetMode

from dt.files import first_line
from dt.spaces.parts import facts
from dt.spaces.wrappers import WRAPPERS, check_wrappers, without_wrappers, wrapping

# What `gymnasium.make` takes besides the id, and `wrappers` to put around (see wrappers.py).
EnvKwargs: TypeAlias = dict[str, Any]

MOST_STEPS = 10**8  # of an episode; a file that says more says nothing

# Texts that are a path, a file's name, or code in a module; and arguments that take one.
_FILE_OR_CODE = re.compile(r".*[/\\].*|[~.].*|.*\.[A-Za-z]\w{0,4}|[\w.]+:[\w./-]+", re.DOTALL)
_TAKES_ONE = re.compile(
    r"(.*_)?(file|filename|path|dir|directory|folder|url|uri|module|package|plugin|script|code"
    r"|entry_point|import|class|function|env_id|xml)s?(_.*)?"
)


def why_not_trusted(env_id: str, env_kwargs: EnvKwargs, named: str = "") -> str | None:
    """Say why an environment that a file describes is not made; None when it may be.

    A module that the program has imported already runs nothing anew, so an id in it may be made.

    Args:
        named: the id that the user gave, which may have a module.
    """
    module = env_id.rpartition(":")[0]
    if ":" in env_id and env_id != named and module not in sys.modules:
        return f"its environment {env_id!r} would run the module {module!r}"
    spec = gymnasium.registry.get(env_id.rpartition(":")[2])
    registered = spec.kwargs if spec is not None else {}
    for name, value in env_kwargs.items():
        if name in registered and registered[name] == value:
            continue
        for text in _texts(value):
            if _TAKES_ONE.fullmatch(name) or _FILE_OR_CODE.fullmatch(text):
                return (
                    f"its environment {env_id!r} would be given {name}={text[:80]!r}, which may "
                    f"name a file or code"
                )
    return None


def refuse_untrusted(
    name: str, env_id: str, env_kwargs: EnvKwargs, named: str, flag: str, otherwise: str = ""
) -> None:
    """Refuse to make an environment that a file describes, before the user names it.

    Args:
        name: the file or the folder that describes it.
        named: the id that the user gave.
        flag: which takes one.
        otherwise: what else the user can do, after a comma.

    Raises:
        ValueError: in one line, with the remedy.
    """
    reason = why_not_trusted(env_id, env_kwargs, named)
    if reason is None:
        return
    if ":" in env_id and env_id != named:
        remedy = f"if you trust it, repeat it with {flag} {env_id}"
    else:
        remedy = f"register an id of your own with this argument and name it with {flag}"
    raise ValueError(f"{name}: {reason}; {remedy}{otherwise}")


def logged_kwargs(values: object) -> EnvKwargs:
    """Take the arguments that a file holds, as JSON gives them.

    Raises:
        ValueError: for what is no object of arguments, or holds no number of steps.
    """
    if not isinstance(values, dict):
        raise ValueError(f"env_kwargs is {str(values)[:80]!r}; it needs a JSON object")
    limit = values.get("max_episode_steps")
    if values.get(WRAPPERS) is not None:
        try:
            check_wrappers(values[WRAPPERS])
        except ValueError as error:
            raise ValueError(f"env_kwargs: {error}") from None
    if limit is not None and (type(limit) is not int or not -1 <= limit <= MOST_STEPS):
        raise ValueError(f"env_kwargs has max_episode_steps {str(limit)[:80]!r}; give a number")
    return values


def kwargs_of(
    name: str, env_id: str | None, own: str | None, logged: EnvKwargs, given: EnvKwargs | None
) -> EnvKwargs:
    """Join the arguments that a file holds and those given by hand, which win.

    Args:
        env_id: the environment that the user names; another than the file's `own` has others.

    Raises:
        ValueError: where the named environment is the file's, and would be made with arguments
            that may name files or code.
    """
    if env_id not in (None, own):
        return given or {}
    if env_id is not None:
        refuse_untrusted(name, env_id, logged, env_id, "--env (train.py: --evaluation.env)")
    return {**logged, **(given or {})}


def _texts(value: object) -> Iterator[str]:
    """List the texts in a value of JSON, however deep."""
    held = [value]
    while held:
        one = held.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            held += [*one, *one.values()]
        elif isinstance(one, list | tuple):
            held += one


def environment_spaces(
    env_id: str, env_kwargs: EnvKwargs | None = None
) -> tuple[gymnasium.Space, gymnasium.Space]:
    """Find the observation and action space of a registered environment, as a row of it is played.

    Raises:
        ValueError: when Gymnasium cannot make it, with Gymnasium's reason.
    """
    kwargs = env_kwargs or {}
    if has_own_rows(env_id, kwargs):
        with making(env_id):
            by_hand: EnvKwargs = {"autoreset_mode": AutoresetMode.DISABLED, **kwargs}
            rows = gymnasium.make_vec(env_id, 1, "vector_entry_point", **by_hand)
        try:
            return rows.single_observation_space, rows.single_action_space
        finally:
            with making(env_id):
                rows.close()
    with making(env_id):
        env = wrapping(kwargs)(gymnasium.make(env_id, **without_wrappers(kwargs)))
    try:
        return env.observation_space, env.action_space
    finally:
        with making(env_id):
            env.close()


def has_own_rows(env_id: str, env_kwargs: EnvKwargs) -> bool:
    """Tell whether the id has a vector environment that says it can be reset by hand, as ours do.

    It also says which pictures it draws (`render_modes`), and which arguments only a single
    environment takes (`single_only`).
    """
    spec = gymnasium.registry.get(env_id)
    if spec is None or spec.vector_entry_point is None or env_kwargs.get(WRAPPERS):
        return False
    entry_point = spec.vector_entry_point
    creator = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    metadata = getattr(creator, "metadata", {})
    render_mode = env_kwargs.get("render_mode")
    draws = render_mode is None or render_mode in metadata.get("render_modes", ())
    takes = not set(metadata.get("single_only", ())) & set(env_kwargs)
    return draws and takes and AutoresetMode.DISABLED in metadata.get("autoreset_modes", ())


@contextmanager
def making(env_id: str) -> Iterator[None]:
    """Turn what Gymnasium raises for an environment it cannot make into one line."""
    try:
        with warnings.catch_warnings():
            # Data of v4 needs v4: that a v5 exists is no news.
            warnings.filterwarnings("ignore", message=".*is out of date.*")
            yield
    except gymnasium.error.NamespaceNotFound as error:
        raise ValueError(
            f"cannot make environment {env_id!r}: {first_line(error)} Install the package that "
            f"brings it, as the extra atari does ALE/ (pip install 'dt-steer[atari]')"
        ) from error
    except ModuleNotFoundError as error:
        missing = first_line(error).partition(". ")[0]  # what follows asks what to check
        raise ValueError(
            f"cannot make environment {env_id!r}: {missing}; install it, or put the folder that "
            f"holds it on PYTHONPATH"
        ) from error
    except Exception as error:  # a constructor is anybody's code
        raise ValueError(f"cannot make environment {env_id!r}: {first_line(error)}") from error
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # SystemExit, whose text is a number at most
        raise ValueError(
            f"cannot make environment {env_id!r}: it raised {type(error).__name__}: "
            f"{first_line(error)}"
        ) from error


def known_spaces(
    env_id: str | None, env_kwargs: EnvKwargs
) -> tuple[gymnasium.Space, gymnasium.Space] | None:
    """Find the spaces of an environment that a file describes, where it is installed here."""
    if env_id is not None and is_registered(env_id) and why_not_trusted(env_id, env_kwargs) is None:
        try:
            return environment_spaces(env_id, env_kwargs)
        except ValueError:
            pass  # registered, but its simulator is not installed: training does not need it
    return None


def is_registered(env_id: str) -> bool:
    """Tell whether Gymnasium knows the id; a data file's "module:Name-v0" imports no module."""
    return env_id in gymnasium.registry


def known_step_limit(env_id: str | None, env_kwargs: EnvKwargs) -> int | None:
    """Find after how many steps the environment cuts an episode, where that is given or known.

    No module is imported for it: a name in a data file must not run code.
    """
    if env_kwargs.get("max_episode_steps") is not None:
        return int(env_kwargs["max_episode_steps"])
    spec = gymnasium.registry.get(env_id or "")
    return spec.max_episode_steps if spec else None


def why_not_playable(
    env_id: str,
    env_kwargs: EnvKwargs,
    stated: tuple[gymnasium.Space, gymnasium.Space] | None = None,
) -> str | None:
    """Give Gymnasium's reason that the environment cannot be made here; None when it can.

    Args:
        stated: spaces of data; an environment of others is not that of the data.
    """
    try:
        made = environment_spaces(env_id, env_kwargs)
    except ValueError as error:
        return str(error)
    for name, have, want in zip(("observation", "action"), made, stated or made, strict=True):
        if facts(have) != facts(want):
            return f"the {name} space of {env_id} is {have}, and that of the data {want}"
    return None
