"""A random Llama as a Hugging Face folder, made in seconds: what a real server can load, and nobody reads.

Two layers of 128 with heads of 64 (vLLM on a CPU wants multiples of 32), the tokenizer that this repository
ships, and a chat template that is told apart from text. The weights are drawn from a seed: the same folder
each time.
"""

from __future__ import annotations

import json
import sys
from importlib import resources
from pathlib import Path

CHAT = (
    "{{ bos_token }}{% for message in messages %}"
    "[{{ message['role'] }}]\n{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n{% endif %}"
)


def make(folder: Path, positions: int = 4096, seed: int = 0) -> Path:
    """Write the model into `folder`; return it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    definition = resources.files("streams").joinpath("data", "finestream-bpe.json").read_text("utf-8")
    tokens = {token["content"]: token["id"] for token in json.loads(definition)["added_tokens"]}
    names = {"bos": "<|begin_of_text|>", "eos": "<|end_of_text|>", "pad": "<|pad|>"}
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(json.loads(definition)["model"]["vocab"]),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        **{f"{name}_token_id": tokens[token] for name, token in names.items()},
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(definition, "utf-8")
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": positions,
        "chat_template": CHAT,
        "clean_up_tokenization_spaces": False,
        **{f"{name}_token": token for name, token in names.items()},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(about, indent=1), "utf-8")
    return folder


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
