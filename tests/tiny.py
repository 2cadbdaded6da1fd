"""A model small enough for unit tests: two layers, a byte-level BPE of 600 tokens, ChatML with its own special tokens."""

from __future__ import annotations

from pathlib import Path

WORDS = ["hate", "normal", "the people on our street are", "kind and welcome here", "nothing but trouble", "a post"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tiny_model(folder: Path, *, seed: int = 0, template: str | None = TEMPLATE) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    tokenizer = build_tokenizer(template)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def build_tokenizer(template: str | None = TEMPLATE, *, texts: list[str] | None = None, vocab_size: int = 600):
    """Byte-level BPE, learnt from a few words or from `texts`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        texts or WORDS * 20,
        trainers.BpeTrainer(
            vocab_size=vocab_size, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>",
        unk_token="<|endoftext|>", chat_template=template,
    )  # fmt: skip


# Further kinds of models, each with what makes prediction hard: name -> (class, values of its configuration).
SHAPES = {
    "qwen3": ("Qwen3", {"head_dim": 8}),
    "mistral-window": ("Mistral", {"sliding_window": 24}),
    "gemma2": (
        "Gemma2",
        {"sliding_window": 16, "head_dim": 8, "query_pre_attn_scalar": 8},
    ),  # windows in turn, softcaps
    "gemma3": ("Gemma3Text", {"sliding_window": 16, "head_dim": 8, "query_pre_attn_scalar": 8}),
    "gpt-oss": ("GptOss", {"sliding_window": 16, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "gpt2": ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}),  # positions are learnt
    "bloom": ("Bloom", {"n_layer": 2, "n_head": 4}),  # its attention takes no mask of another's
    "mamba": ("Mamba", {"state_size": 4}),  # no attention, no keys to share
}


def build_shape(folder: Path, shape: str, *, seed: int = 0) -> Path:
    """A tiny random model of another architecture, with the same tokenizer."""
    import torch
    import transformers

    kind, values = SHAPES[shape]
    tokenizer = build_tokenizer()
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=2, **values,
    )  # fmt: skip
    torch.manual_seed(seed)
    name = {"GPT2": "GPT2LMHeadModel"}.get(kind, f"{kind.removesuffix('Text')}ForCausalLM")
    model = getattr(transformers, name)(config)
    for parameter in model.parameters():  # the usual 0.02 makes every answer alike
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
