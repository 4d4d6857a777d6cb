"""The model: a Llama from transformers in the sizes we name, with weights that depend on the seed alone.

transformers' own class and not one of ours: what is trained here can be exported and loaded anywhere.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import torch

from streams.settings import TrainerSettings

Model: TypeAlias = Any
"""`transformers.LlamaForCausalLM`, whose package is not typed."""

PRESETS: Final[dict[str, dict[str, int]]] = {
    "tiny": {
        "hidden_size": 128,
        "intermediate_size": 352,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
    },
    "small": {
        "hidden_size": 512,
        "intermediate_size": 1408,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
    },
    "paper-1.8b": {
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 25,
        "num_attention_heads": 16,
    },
}
"""`paper-1.8b` is the released model (section 5): no grouped queries, 1.810 B parameters with Llama 3's
128,256 entries. The other two are our choice, to run on a CPU."""


def build(config: TrainerSettings, vocab_size: int, *, meta: bool = False) -> Model:
    """Return a fresh model in float32: rope theta 10,000, untied embeddings, SwiGLU, no dropout.

    Its weights are a function of `config.seed` (and of the versions of torch and transformers). With `meta`
    it has shapes and no memory.
    """
    from transformers.models.llama import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415 - 2 s of import

    sizes = PRESETS[config.preset]
    llama = LlamaConfig(
        vocab_size=vocab_size,
        **sizes,
        num_key_value_heads=sizes["num_attention_heads"],
        max_position_embeddings=config.sequence_tokens,
        rope_theta=10_000.0,
        tie_word_embeddings=False,
        use_cache=False,
    )
    with torch.device("meta" if meta else "cpu"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return LlamaForCausalLM(llama)


def parameters(model: Model) -> int:
    """Return how many parameters a model has."""
    return sum(p.numel() for p in model.parameters())


def optimizer(model: Model, config: TrainerSettings) -> torch.optim.AdamW:
    """Return AdamW with the released recipe's betas (0.9, 0.95) and epsilon 1e-8.

    Weight decay acts on matrices only, not on norms (our choice; the recipe doesn't say). Fused: one pass
    over memory, and elementwise, so the same bits whatever the number of threads.
    """
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), eps=1e-8, fused=True)


def loss_sum(model: Model, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the summed cross-entropy in nats over all targets; labels of -100 are none.

    Shapes (rows, tokens) both; attention is causal over the whole row (the released loader, section 5).
    """
    logits = model(input_ids=inputs).logits
    return torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum"
    )


def make_deterministic(threads: int) -> int:
    """Fix what decides the bits of a sum: algorithms and the number of threads; return that number.

    What holds: on one machine, with the same number of threads and the same versions, the same batches in
    the same order give bitwise the same weights. Another CPU type or another number of threads may differ
    in the last bits. `threads` 0 takes what torch would.
    """
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms() imports a compiler, 3 s
    if threads:
        torch.set_num_threads(threads)
    else:
        torch.set_num_threads(torch.get_num_threads())  # also stops MKL from choosing by load
    return torch.get_num_threads()
