"""What does Hugging Face's DecisionTransformerModel answer? Writes its answers down, once.

`python tests/make_hf_golden.py`, with the extra `interop`. checkpoint/test_hugging_face.py reads
what this writes, so that parity is checked where neither PyTorch nor transformers is installed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import DecisionTransformerConfig, DecisionTransformerModel

FOLDER = Path(__file__).parent / "checkpoint/hf_golden"
MODELS = {1: 1, 3: 2, 6: 1}  # layers: heads
NUM_STEPS, EPISODE, CONTEXT = 6, 9, 4
STATES, ACTIONS = 3, 2
TARGET = 250.0
STATISTICS = {
    "state_mean": [0.5, -1.0, 2.0],
    "state_std": [2.0, 0.5, 3.0],
    "return_scale": 100.0,
    "context_length": CONTEXT,
}


def make_model(num_layers: int, num_heads: int, width: int, seed: int) -> DecisionTransformerModel:
    """Random weights, each large enough to matter: as initialised, biases and LayerNorms do not."""
    model = DecisionTransformerModel(
        DecisionTransformerConfig(
            state_dim=STATES,
            act_dim=ACTIONS,
            hidden_size=width,
            max_ep_len=20,
            n_positions=2,
            n_layer=num_layers,
            n_head=num_heads,
            bos_token_id=None,
            eos_token_id=None,
        )
    ).eval()
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            new = rng.normal(0.0, 0.4 if value.ndim == 1 else 1.2 * width**-0.5, value.shape)
            if "ln_" in name and name.endswith("weight"):
                new = new + 1.0
            value.copy_(torch.from_numpy(new))
    return model


def make_batch(num_rows: int, num_steps: int, padded: bool, seed: int) -> dict[str, np.ndarray]:
    """Inputs in the model's units; padding stands on the left, and in the last row on the right."""
    rng = np.random.default_rng(seed)
    batch = {
        "observations": rng.normal(size=(num_rows, num_steps, STATES)),
        "actions": rng.uniform(-1, 1, (num_rows, num_steps, ACTIONS)),
        "returns_to_go": rng.uniform(0, 3, (num_rows, num_steps)),
    }
    batch = {name: value.astype(np.float32) for name, value in batch.items()}
    first = rng.integers(0, 20 - num_steps, (num_rows, 1))
    mask = np.ones((num_rows, num_steps), bool)
    if padded:
        for row in range(num_rows):
            mask[row, : row % num_steps] = False
        mask[-1] = mask[-1, ::-1]
    return {**batch, "timesteps": (first + np.arange(num_steps)).astype(np.int32), "mask": mask}


def predict(model: DecisionTransformerModel, batch: dict[str, np.ndarray]) -> torch.Tensor:
    """Its predictions of all actions."""
    tensors = {name: torch.from_numpy(value) for name, value in batch.items()}
    return model(
        states=tensors["observations"],
        actions=tensors["actions"],
        returns_to_go=tensors["returns_to_go"][..., None],
        timesteps=tensors["timesteps"].long(),
        attention_mask=tensors["mask"].long(),
    ).action_preds


def gradients(
    model: DecisionTransformerModel, batch: dict[str, np.ndarray]
) -> tuple[float, dict[str, np.ndarray]]:
    """The action loss of Chen et al. 2021 and its gradient, tensor by tensor."""
    model.zero_grad()
    mask = torch.from_numpy(batch["mask"])
    error = predict(model, batch)[mask] - torch.from_numpy(batch["actions"])[mask]
    loss = (error**2).mean()
    loss.backward()
    named = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return loss.item(), {name: g.numpy() for name, g in named.items()}


def play(model: DecisionTransformerModel, states: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """The actions of an agent that sees these states, as the authors' code has it act."""
    mean, std = (np.asarray(STATISTICS[name]) for name in ("state_mean", "state_std"))
    taken: list[np.ndarray] = []
    left = TARGET - np.concatenate([[0.0], np.cumsum(rewards)[:-1]])
    for t in range(len(states)):
        past = slice(max(0, t + 1 - CONTEXT), t + 1)
        count = past.stop - past.start
        padding = CONTEXT - count

        def window(values: np.ndarray, padding: int = padding) -> np.ndarray:
            return np.pad(values, [(padding, 0), *[(0, 0)] * (values.ndim - 1)])[None]

        actions = np.array([*taken, np.zeros(ACTIONS)])[past]
        batch = {
            "observations": window(((states - mean) / std)[past]).astype(np.float32),
            "actions": window(actions).astype(np.float32),
            "returns_to_go": window(left[past] / STATISTICS["return_scale"]).astype(np.float32),
            "timesteps": window(np.arange(len(states))[past]),
            "mask": window(np.ones(count, bool)),
        }
        with torch.no_grad():
            taken.append(predict(model, batch)[0, -1].numpy())
    return np.array(taken)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    rng = np.random.default_rng(7)
    states = rng.normal(size=(EPISODE, STATES)).astype(np.float32)
    rewards = rng.uniform(0, 20, EPISODE).astype(np.float32)
    outputs = {"states": states, "rewards": rewards}
    for padded in (False, True):
        outputs |= {f"{padded}/{n}": x for n, x in make_batch(4, NUM_STEPS, padded, 3).items()}
    for layers, heads in MODELS.items():
        model = make_model(layers, heads, width=8, seed=layers)
        model.save_pretrained(FOLDER / str(layers))
        for padded in (False, True):
            batch = make_batch(4, NUM_STEPS, padded, 3)
            outputs[f"{layers}/{padded}/predictions"] = predict(model, batch).detach().numpy()
        outputs[f"{layers}/played"] = play(model, states, rewards)
        loss, grads = gradients(model, make_batch(4, NUM_STEPS, True, 3))
        outputs[f"{layers}/loss"] = np.array(loss, np.float32)
        if layers == 3:
            save_file(grads, FOLDER / "gradients.safetensors")
    arrays = {name: np.ascontiguousarray(x) for name, x in outputs.items()}
    save_file(arrays, FOLDER / "outputs.safetensors")
    total = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())
    print(f"{FOLDER}: {total} bytes, transformers' own answers with torch {torch.__version__}")


if __name__ == "__main__":
    main()
