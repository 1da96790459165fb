"""Decision transformers in JAX: an episode is a token sequence, and what you write into it steers.

`dt.load_policy(run_dir)` is all that another program needs; `import dt` alone imports no JAX.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dt.acting.options import ActingOptions as ActingOptions
    from dt.checkpoint.load import load_policy as load_policy

__version__ = "0.1.0"
__all__ = ["ActingOptions", "load_policy"]


def __getattr__(name: str) -> Any:
    if name == "load_policy":
        from dt.checkpoint.load import load_policy

        return load_policy
    if name == "ActingOptions":
        from dt.acting.options import ActingOptions

        return ActingOptions
    raise AttributeError(f"module 'dt' has no attribute {name!r}")
