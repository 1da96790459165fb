"""The same models trained by others' own classes in the plainest loop; see training.py.

What a peer needs of a batch is made before the clock runs, so only their updates are timed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

Train = Callable[[int], None]  # so many updates, and they are done when it returns

STATE, ACTION, EPISODE = 11, 3, 1000  # Hopper's
MOVES = 4  # of the Atari game
NUM_BATCHES = 8  # that a peer goes through again and again


def gym_peers(batch: int, context: int, device: str) -> dict[str, Train]:
    """Chen et al.'s gym model by all that are installed; says who is not."""
    makers = {
        "Hugging Face": (("torch", "transformers"), hugging_face),
        "d3rlpy": (("torch", "d3rlpy"), d3rlpy_dt),
        "torchrl": (("torch", "torchrl", "transformers"), torchrl_dt),
    }
    found = {}
    for name, (packages, make) in makers.items():
        missing = [package for package in packages if find_spec(package) is None]
        if missing:
            print(f"  {name}: skipped, {' and '.join(missing)} not installed")
        else:
            found[name] = make(batch, context, device)
    return found


def gym_batches(batch: int, context: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    shape = (NUM_BATCHES, batch, context)
    arrays = {
        "states": rng.normal(size=(*shape, STATE)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (*shape, ACTION)).astype(np.float32),
        "returns": rng.uniform(0, 3, (*shape, 1)).astype(np.float32),
        "rewards": rng.uniform(0, 1, (*shape, 1)).astype(np.float32),
    }
    first = rng.integers(0, EPISODE - context, shape[:2])
    arrays["timesteps"] = first[..., None] + np.arange(context)
    return [{name: values[i] for name, values in arrays.items()} for i in range(NUM_BATCHES)]


def torch_batches(batches: list[dict[str, np.ndarray]], device: str) -> Any:
    """The same for ever, as tensors."""
    import torch

    as_tensors = [
        {name: torch.from_numpy(values).to(device) for name, values in each.items()}
        for each in batches
    ]
    return itertools.cycle(as_tensors)


def updating(loss_of: Callable[[], Any], model: Any, optimizer: Any, clip: float) -> Train:
    """The loop of Chen et al.'s Trainer."""
    import torch

    # The paper's warm-up; it belongs to every update's work.
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min((i + 1) / 10_000, 1))

    def train(updates: int) -> None:
        for _ in range(updates):
            loss = loss_of()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            schedule.step()
        loss.item()  # waits for the device

    return train


def hugging_face(batch: int, context: int, device: str) -> Train:
    import torch
    from transformers import DecisionTransformerConfig, DecisionTransformerModel

    model: Any = DecisionTransformerModel(
        DecisionTransformerConfig(
            state_dim=STATE,
            act_dim=ACTION,
            hidden_size=128,
            n_layer=3,
            n_head=1,
            n_inner=512,
            max_length=context,
            max_ep_len=EPISODE,
            activation_function="relu",
            attn_pdrop=0.1,
            resid_pdrop=0.1,
        )
    ).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=1e-4)
    batches = torch_batches(gym_batches(batch, context), device)
    mask = torch.ones((batch, context), dtype=torch.long, device=device)

    def loss_of() -> Any:
        each = next(batches)
        _, predicted, _ = model(
            states=each["states"],
            actions=each["actions"],
            rewards=each["rewards"],
            returns_to_go=each["returns"],
            timesteps=each["timesteps"],
            attention_mask=mask,
            return_dict=False,
        )
        real = mask.reshape(-1) > 0
        flat = predicted.reshape(-1, ACTION)[real], each["actions"].reshape(-1, ACTION)[real]
        return torch.nn.functional.mse_loss(*flat)

    return updating(loss_of, model.train(), optimizer, 0.25)


def d3rlpy_dt(batch: int, context: int, device: str) -> Train:
    import d3rlpy

    d3rlpy.seed(0)
    algo = d3rlpy.algos.DecisionTransformerConfig(
        batch_size=batch,
        context_size=context,
        max_timestep=EPISODE + 1,
        learning_rate=1e-4,
        encoder_factory=d3rlpy.models.VectorEncoderFactory([128], exclude_last_activation=True),
        optim_factory=d3rlpy.optimizers.AdamWFactory(weight_decay=1e-4, clip_grad_norm=0.25),
        num_heads=1,
        num_layers=3,
        attn_dropout=0.1,
        resid_dropout=0.1,
        embed_dropout=0.1,
        activation_type="relu",
        position_encoding_type=d3rlpy.PositionEncodingType.SIMPLE,
    ).create(device=device)
    algo.create_impl((STATE,), ACTION)
    rng, count = np.random.default_rng(0), 4 * EPISODE
    dataset = d3rlpy.dataset.MDPDataset(
        observations=rng.normal(size=(count, STATE)).astype(np.float32),
        actions=rng.uniform(-1, 1, (count, ACTION)).astype(np.float32),
        rewards=rng.uniform(0, 1, (count, 1)).astype(np.float32),
        terminals=(np.arange(count) % EPISODE == EPISODE - 1).astype(np.float32),
    )
    batches = itertools.cycle(
        [dataset.sample_trajectory_batch(batch, context) for _ in range(NUM_BATCHES)]
    )

    def train(updates: int) -> None:
        for _ in range(updates):
            algo.update(next(batches))  # it reads the loss off each time

    return train


def torchrl_dt(batch: int, context: int, device: str) -> Train:
    import torch
    from tensordict import TensorDict
    from tensordict.nn import TensorDictModule
    from torchrl.modules import DTActor
    from torchrl.objectives import DTLoss

    size = DTActor.default_config()
    size.n_embd, size.n_layer, size.n_head, size.n_inner = 128, 3, 1, 512
    size.activation, size.n_positions = "relu", 3 * context
    size.resid_pdrop = size.attn_pdrop = 0.1
    actor = DTActor(STATE, ACTION, size).to(device)
    # It has no timesteps, which saves it their embedding.
    module = TensorDictModule(
        actor, in_keys=["observation", "action_cat", "return_to_go_cat"], out_keys=["action"]
    )
    loss_module = DTLoss(module)
    loss_module.set_keys(action_target="action_cat", action_pred="action")
    optimizer = torch.optim.AdamW(loss_module.parameters(), lr=1e-4, weight_decay=1e-4)
    batches = torch_batches(gym_batches(batch, context), device)

    def loss_of() -> Any:
        each = next(batches)
        data = TensorDict(
            {
                "observation": each["states"],
                "action_cat": each["actions"],
                "return_to_go_cat": each["returns"],
            },
            batch_size=[batch, context],
        )
        return loss_module(data)["loss"]

    return updating(loss_of, loss_module.train(), optimizer, 0.25)


def atari_peer(batch: int, context: int, device: str) -> Train:
    """Chen et al.'s Atari model, with what makes torch faster: channels last, fused attention."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    width, heads = 128, 8

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(0.1)
            )

        def forward(self, x: Any) -> Any:
            parts = self.qkv(self.norms[0](x)).reshape(len(x), -1, 3, heads, width // heads)
            q, k, v = parts.permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=0.1, is_causal=True)
            mixed = self.out(mixed.transpose(1, 2).reshape(x.shape))
            x = x + F.dropout(mixed, 0.1)
            return x + self.mlp(self.norms[1](x))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pixels = nn.Sequential(
                nn.Conv2d(4, 32, 8, stride=4),
                nn.ReLU(),
                nn.Conv2d(32, 64, 4, stride=2),
                nn.ReLU(),
                nn.Conv2d(64, 64, 3),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(3136, width),
                nn.Tanh(),
            )
            self.returns = nn.Sequential(nn.Linear(1, width), nn.Tanh())
            self.actions = nn.Sequential(nn.Embedding(MOVES, width), nn.Tanh())
            self.timesteps = nn.Embedding(10_000, width)
            self.blocks = nn.Sequential(*[Block() for _ in range(6)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, MOVES, bias=False)

        def forward(self, frames: Any, actions: Any, returns: Any, timesteps: Any) -> Any:
            images = frames.reshape(-1, 84, 84, 4).permute(0, 3, 1, 2)  # channels last in memory
            seen = self.pixels(images.float() / 255).reshape(*actions.shape, width)
            tokens = torch.stack([self.returns(returns), seen, self.actions(actions)], dim=2)
            tokens = F.dropout(tokens + self.timesteps(timesteps)[:, :, None], 0.1)
            x = self.blocks(tokens.reshape(len(tokens), -1, width))
            return self.head(self.norm(x)[:, 1::3])

    rng = np.random.default_rng(0)
    model = Model().to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, weight_decay=0.1)
    arrays = [
        {
            "frames": rng.integers(0, 256, (batch, context, 84, 84, 4), dtype=np.uint8),
            "actions": rng.integers(0, MOVES, (batch, context)),
            "returns": rng.uniform(0, 3, (batch, context, 1)).astype(np.float32),
            "timesteps": rng.integers(0, 9_000, (batch, 1)) + np.arange(context),
        }
        for _ in range(2)
    ]
    batches = torch_batches(arrays, device)

    def loss_of() -> Any:
        each = next(batches)
        logits = model(each["frames"], each["actions"], each["returns"], each["timesteps"])
        return F.cross_entropy(logits.reshape(-1, MOVES), each["actions"].reshape(-1))

    return updating(loss_of, model.train(), optimizer, 1.0)


# What Hugging Face's own users run first: read the data, make the model, do one update.
HUGGING_FACE_SCRIPT = """
import sys
import numpy as np
import torch
from transformers import DecisionTransformerConfig, DecisionTransformerModel
torch.set_num_threads(int(sys.argv[2]))
data = np.load(sys.argv[1])
observations, actions = data["observations"], data["actions"]
model = DecisionTransformerModel(DecisionTransformerConfig(
    state_dim=observations.shape[1], act_dim=actions.shape[1], hidden_size=128, n_layer=3,
    n_head=1, n_inner=512, max_length=20, max_ep_len=1000))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
rows = np.random.default_rng(0).integers(0, len(actions) - 20, 64)[:, None] + np.arange(20)
states, targets = (torch.from_numpy(x[rows].astype(np.float32)) for x in (observations, actions))
_, predicted, _ = model(
    states=states, actions=targets, rewards=None, returns_to_go=torch.ones((64, 20, 1)),
    timesteps=torch.arange(20).repeat(64, 1), attention_mask=torch.ones((64, 20)).long(),
    return_dict=False)
torch.nn.functional.mse_loss(predicted, targets).backward()
optimizer.step()
print("updated", flush=True)
"""
