"""Small tokenizers of the kinds that models bring: byte-level BPE, SentencePiece-like BPE and Unigram, with and without a
space that is put before a text, with and without a token that begins it."""

from __future__ import annotations

from functools import cache
from typing import Any

from tests.tiny import WORDS, build_tokenizer

KINDS = ("byte_level", "metaspace_bpe", "prepend_bpe", "unigram", "begins")
_SPECIALS = ["<unk>", "<s>", "</s>"]
_BYTES = [f"<0x{value:02X}>" for value in range(256)]


@cache
def build(kind: str) -> Any:
    return {"byte_level": build_tokenizer, "metaspace_bpe": _metaspace_bpe, "prepend_bpe": _prepend_bpe,
            "unigram": _unigram, "begins": _begins}[kind]()  # fmt: skip


def _wrapped(backend: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="</s>", unk_token="<unk>"
    )


def _bpe(backend: Any) -> Any:
    from tokenizers import trainers

    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=[*_SPECIALS, *_BYTES], initial_alphabet=list("▁abcdefghijklmnopqrstuvwxyz</s>"),
        show_progress=False,
    )  # fmt: skip
    words = [
        word for text in WORDS for word in text.split()
    ]  # no piece spans two words, as in models' own vocabularies
    backend.train_from_iterator(words * 20, trainer)
    return _only_three_special(backend)


def _only_three_special(backend: Any) -> Any:
    """Bytes are pieces of the vocabulary, not special tokens: keep them out of the list of added ones."""
    import json

    from tokenizers import Tokenizer

    tree = json.loads(backend.to_str())
    tree["added_tokens"] = [token for token in tree["added_tokens"] if token["content"] in _SPECIALS]
    return Tokenizer.from_str(json.dumps(tree))


def _metaspace_bpe() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")])
    return _wrapped(_bpe(backend))


def _prepend_bpe() -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers

    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _wrapped(_bpe(backend))


def _unigram() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=_SPECIALS, unk_token="<unk>", show_progress=False,
        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz</>|#:\n"),
    )  # fmt: skip
    backend.train_from_iterator(WORDS * 20, trainer)
    return _wrapped(backend)


def _begins() -> Any:
    """A tokenizer that puts its first token before every text, as Llama's and Gemma's do."""
    from tokenizers import processors

    tokenizer = _metaspace_bpe()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    return tokenizer
