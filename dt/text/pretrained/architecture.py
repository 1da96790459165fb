"""What config.json of a GPT-2 or Llama folder says, as options of our model; and the inverse."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dt.config.language_model import LanguageModelConfig
from dt.files import shown
from dt.text.pretrained.tensors import Architecture

CONFIG = "config.json"
MOST = 1 << 31  # of a size; larger ones are damage
# Our options that the file decides; all others stay the run's.
_OF_GPT2: dict[str, Any] = {
    "norm": "layer",
    "positions": "learned",
    "activation": "gelu",
    "biases": True,
    "num_key_heads": 0,
    "head_width": 0,
}
_OF_LLAMA: dict[str, Any] = {
    "norm": "rms",
    "positions": "rotary",
    "activation": "swiglu",
    "biases": False,
}
# Options of theirs that change the function; what is left out means the first value.
_NEEDED: dict[Architecture, dict[str, tuple[Any, ...]]] = {
    "gpt2": {
        "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
        "quantization_config": (None,),
    },
    "llama": {
        "hidden_act": ("silu",),
        "attention_bias": (False,),
        "mlp_bias": (False,),
        "pretraining_tp": (1,),
        "quantization_config": (None,),
    },
}


class Declared:
    """The values of a file by name, whose errors say which is wrong."""

    def __init__(self, path: Path, values: Mapping[str, Any]):
        self.path, self.values = path, values

    def count(self, name: str, default: int | None = None) -> int:
        """Read a size.

        Raises:
            ValueError: when it is missing and has no default, or is no number from 1 to 2^31.
        """
        value = self.values.get(name)
        value = default if value is None else value
        if type(value) is not int or not 1 <= value < MOST:
            raise self._wrong(name, value, "a whole number from 1 on")
        return value

    def positive(self, name: str, default: float) -> float:
        """Read a number above zero.

        Raises:
            ValueError: when it is none.
        """
        value = self.values.get(name, default)
        if type(value) not in (int, float) or not 0 < value < float("inf"):
            raise self._wrong(name, value, "a number above 0")
        return float(value)

    def one_of(self, name: str, allowed: tuple[Any, ...]) -> None:
        """Refuse a value that our model has no counterpart of."""
        value = self.values.get(name, allowed[0])
        if value not in allowed or type(value) not in map(type, allowed):
            raise self._wrong(name, value, " or ".join(map(repr, allowed)))

    def flag(self, name: str, default: bool) -> bool:
        """Read a yes or no."""
        value = self.values.get(name, default)
        if type(value) is not bool:
            raise self._wrong(name, value, "true or false")
        return value

    def _wrong(self, name: str, value: object, needed: str) -> ValueError:
        said = "missing" if value is None else shown(repr(value)[:80])
        return ValueError(f"{self.path}: {name} is {said}; only {needed} is supported")


def read_architecture(
    path: Path, values: object, run: LanguageModelConfig
) -> tuple[Architecture, LanguageModelConfig]:
    """Read config.json's values over the run's options.

    Args:
        run: whose longest text, dropout, adapters and so on are kept.

    Raises:
        ValueError: for another architecture, and naming an option that is wrong or not supported.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{path}: does not read as a JSON object")
    declared, kind = Declared(path, values), values.get("model_type")
    if kind == "gpt2":
        own = _gpt2(declared)
    elif kind == "llama":
        own = _llama(declared)
    else:
        said = "missing" if kind is None else shown(repr(kind)[:80])
        raise ValueError(
            f"{path}: model_type is {said}; only folders of 'gpt2' and 'llama' are supported"
        )
    return kind, over_run(path, own, run)


def over_run(path: Path, own: dict[str, Any], run: LanguageModelConfig) -> LanguageModelConfig:
    """Lay an architecture over the run's options.

    Raises:
        ValueError: for a longest text that the model was not made for, and sizes that do not fit
            each other.
    """
    if run.longest > own["num_positions"]:
        raise ValueError(
            f"{path}: the model was made for texts of {own['num_positions']} tokens, and "
            f"model.longest is {run.longest}; give a smaller one"
        )
    if run.window:
        raise ValueError(f"model.window is {run.window}; it must be 0 with the weights of {path}")
    try:
        return dataclasses.replace(run, **own)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _gpt2(declared: Declared) -> dict[str, Any]:
    for name, allowed in _NEEDED["gpt2"].items():
        declared.one_of(name, allowed)
    width = declared.count("n_embd", 768)
    return {
        **_OF_GPT2,
        "vocabulary": declared.count("vocab_size", 50_257),
        "num_positions": declared.count("n_positions", 1024),
        "width": width,
        "num_layers": declared.count("n_layer", 12),
        "num_heads": declared.count("n_head", 12),
        "mlp_width": declared.count("n_inner", 4 * width),
        "tied_head": declared.flag("tie_word_embeddings", True),
        "epsilon": declared.positive("layer_norm_epsilon", 1e-5),
    }


def _llama(declared: Declared) -> dict[str, Any]:
    for name, allowed in _NEEDED["llama"].items():
        declared.one_of(name, allowed)
    heads = declared.count("num_attention_heads", 32)
    width = declared.count("hidden_size", 4096)
    return {
        **_OF_LLAMA,
        "vocabulary": declared.count("vocab_size", 32_000),
        "num_positions": declared.count("max_position_embeddings", 2048),
        "width": width,
        "num_layers": declared.count("num_hidden_layers", 32),
        "num_heads": heads,
        "num_key_heads": declared.count("num_key_value_heads", heads),
        "head_width": declared.count("head_dim", max(width // heads, 1)),
        "mlp_width": declared.count("intermediate_size", 11_008),
        "tied_head": declared.flag("tie_word_embeddings", False),
        "epsilon": declared.positive("rms_norm_eps", 1e-6),
        "rope_theta": _rope_theta(declared),
    }


def _rope_theta(declared: Declared) -> float:
    """Read the base of rotary positions; older files have it at the top, newer ones in a group."""
    theta = declared.positive("rope_theta", 10_000.0)
    for name in ("rope_scaling", "rope_parameters"):
        group = declared.values.get(name)
        if group is None:
            continue
        if not isinstance(group, dict):
            raise ValueError(f"{declared.path}: {name} is no group of options")
        within = Declared(declared.path, group)
        within.one_of("rope_type", ("default",))
        within.one_of("partial_rotary_factor", (1, 1.0))
        theta = within.positive("rope_theta", theta)
    return theta


def config_json(config: LanguageModelConfig) -> tuple[Architecture, dict[str, Any]]:
    """Write config.json's values for a model of ours.

    Raises:
        ValueError: for a model that is neither a GPT-2 nor a Llama, naming the option.
    """
    if config.window:
        raise ValueError(f"model.window is {config.window}; GPT-2 and Llama see whole texts")
    kind: Architecture = "gpt2" if config.norm == "layer" else "llama"
    needed = _OF_GPT2 if kind == "gpt2" else _OF_LLAMA
    for name, value in needed.items():
        if (held := getattr(config, name)) != value and name not in ("num_key_heads", "head_width"):
            raise ValueError(f"model.{name} is {held}; in a {kind} folder it must be {value}")
    shared: dict[str, Any] = {
        "model_type": kind,
        "vocab_size": config.vocabulary,
        "tie_word_embeddings": config.tied_head,
        "dtype": "float32",
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if kind == "gpt2":
        if (
            config.key_heads != config.num_heads
            or config.head_size * config.num_heads != config.width
        ):
            raise ValueError(
                f"model.num_key_heads is {config.num_key_heads} and head_width "
                f"{config.head_width}; the heads of a gpt2 folder share nothing"
            )
        return kind, {
            **shared,
            "architectures": ["GPT2LMHeadModel"],
            "n_embd": config.width,
            "n_positions": config.positions_held,
            "n_layer": config.num_layers,
            "n_head": config.num_heads,
            "n_inner": config.hidden,
            "layer_norm_epsilon": config.epsilon,
            "activation_function": "gelu_new",
        }
    return kind, {
        **shared,
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": config.width,
        "max_position_embeddings": config.positions_held,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.key_heads,
        "head_dim": config.head_size,
        "intermediate_size": config.hidden,
        "rms_norm_eps": config.epsilon,
        "hidden_act": "silu",
        # Both spellings: transformers reads the group since its version 5, others the other.
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
    }
