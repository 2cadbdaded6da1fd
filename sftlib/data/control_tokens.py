"""Tokens that only a template may write. A record's text that spells one (`<|im_end|>` in a post) stays ordinary text.

Before rendering, each control token in a record's text is replaced by a mark that no record can hold; the template then
writes its own tokens around it. A rendered text with marks is encoded by a copy of the tokenizer in which every control
token has a secret name: only the template's tokens are written under that name.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from sftlib.errors import DataError, InputError

Encoded = tuple[list[int], list[tuple[int, int]]]  # token ids, and where each stands in the text


class ControlTokens:
    """The control tokens of one tokenizer under one template."""

    def __init__(self, tokenizer: Any, template_text: str) -> None:
        self.tokenizer = tokenizer
        # Not guessable by a record, and no id depends on it. It goes with the object into other processes.
        self._secret = secrets.token_hex(8)
        self._marks = re.compile(rf"\ue000{self._secret}:(\d+)\ue001")
        # Around an answer, while it is looked for in a rendered conversation.
        self.open, self.close = f"\ue000{self._secret}<\ue001", f"\ue000{self._secret}>\ue001"
        added = getattr(tokenizer, "added_tokens_decoder", {})
        self.special = {token.content for token in added.values() if token.special} | set(tokenizer.all_special_tokens)
        # Such as <tool_call>: not special, but the template speaks with it. An answer may hold it (<think>), a post not.
        self.of_template = {
            token.content for token in added.values() if token.content in template_text and token.content.strip()
        }
        self.names = sorted(self.special | self.of_template)
        self._number = {name: number for number, name in enumerate(self.names)}
        self._all, self._special = _matcher(self.names), _matcher(self.special)

    def guard(self, text: str, *, is_answer: bool = False) -> str:
        """The record's text with a mark in place of each control token."""
        pattern = self._special if is_answer else self._all
        return pattern.sub(lambda match: self._mark(match.group()), text)

    def _mark(self, name: str) -> str:
        return f"\ue000{self._secret}:{self._number[name]}\ue001"

    def unguard(self, marked: str) -> str:
        """The text as a reader sees it."""
        return (
            self._marks.sub(lambda match: self.names[int(match.group(1))], marked) if self.is_marked(marked) else marked
        )

    def is_marked(self, text: str) -> bool:
        return self._secret in text

    def first_end(self, text: str) -> int | None:
        """Where the first control token that the template wrote ends; None where there is none."""
        match = self._all.search(text)
        return match.end() if match else None

    def renamed(self, marked: str) -> str:
        """For the renamed tokenizer: the template's tokens by their secret names, the record's text as it is."""
        return self.unguard(self._all.sub(lambda match: self._secret_name(match.group()), marked))

    def _secret_name(self, name: str) -> str:
        return f"<sft:{self._secret}:{self._number[name]}>"

    @cached_property
    def renamed_backend(self) -> Any:
        """A copy of the tokenizer that knows control tokens by their secret names only."""
        from tokenizers import Tokenizer

        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise InputError(
                f"{type(self.tokenizer).__name__} is no fast tokenizer: it cannot keep control tokens such as "
                f"{self.names[0]!r} in a record's text apart from the template's; use a model with a tokenizer.json"
            )
        copy = Tokenizer.from_str(json.dumps(self._renamed_tree(json.loads(backend.to_str())), ensure_ascii=False))
        for name in self.names:
            if copy.token_to_id(self._secret_name(name)) != self.tokenizer.convert_tokens_to_ids(name):
                raise InputError(f"the tokenizer's token {name!r} cannot be told from the same characters in a text")
        return copy

    def _renamed_tree(self, tree: dict[str, Any]) -> dict[str, Any]:
        new = {name: self._secret_name(name) for name in self.names}
        for token in tree["added_tokens"]:
            token["content"] = new.get(token["content"], token["content"])
        model = tree["model"]
        if isinstance(model.get("vocab"), dict):
            model["vocab"] = {new.get(name, name): number for name, number in model["vocab"].items()}
        else:  # Unigram: [[piece, score], ...]
            model["vocab"] = [[new.get(piece, piece), score] for piece, score in model["vocab"]]
        if model.get("unk_token") in new:
            model["unk_token"] = new[model["unk_token"]]
        return {**tree, "post_processor": None, "truncation": None, "padding": None}


def _matcher(names: Iterable[str]) -> re.Pattern[str]:
    """The longest name first, as tokenizers match them; matches nothing where there are none."""
    return re.compile("|".join(re.escape(name) for name in sorted(names, key=len, reverse=True) if name) or r"(?!)")


class TextEncoder:
    """Rendered texts to token ids, in batches."""

    def __init__(self, control: ControlTokens) -> None:
        self.control, self.tokenizer = control, control.tokenizer

    @cached_property
    def adds_context(self) -> bool:
        """Whether the tokenizer puts something before the start of a text (a space): then an answer cannot be encoded
        without what stands before it."""
        encode = self.tokenizer.encode
        alone, behind = encode("a", add_special_tokens=False), encode("\na", add_special_tokens=False)
        return behind[-len(alone) :] != alone

    def behind_a_line_break(self, text: str) -> list[int] | None:
        """The ids of a text that does not stand at the start; None where the line break does not stay a token apart."""
        line_break, both = self.ids(["\n", "\n" + text])
        return both[len(line_break) :] if both[: len(line_break)] == line_break else None

    def ids(self, texts: list[str]) -> list[list[int]]:
        """The token ids of each text; nothing is added before or behind."""
        return [ids for ids, _ in self._encode(texts, with_offsets=False)]

    def ids_and_offsets(self, texts: list[str]) -> list[Encoded]:
        """Also where each token stands, in characters of the text that was encoded (see `position`)."""
        return self._encode(texts, with_offsets=True)

    def position(self, text: str, at: int) -> int:
        """A position of the text as a position in what the tokenizer sees."""
        return len(self.control.renamed(text[:at])) if self.control.is_marked(text) else at

    def _encode(self, texts: list[str], *, with_offsets: bool) -> list[Encoded]:
        marked = [index for index, text in enumerate(texts) if self.control.is_marked(text)]
        plain = [text for text in texts if not self.control.is_marked(text)] if marked else texts
        encoded = iter(self._plain(plain, with_offsets))
        if not marked:
            return list(encoded)
        guarded = iter(self._marked([texts[index] for index in marked], with_offsets))
        chosen = set(marked)
        return [next(guarded) if index in chosen else next(encoded) for index in range(len(texts))]

    def _plain(self, texts: list[str], with_offsets: bool) -> list[Encoded]:
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is not None:
            return _batch(backend, texts, with_offsets)
        if with_offsets:
            raise InputError(
                f"train.loss_on: assistant needs a fast tokenizer (a tokenizer.json); {type(self.tokenizer).__name__} "
                f"does not tell where its tokens stand"
            )
        return [(self.tokenizer.encode(text, add_special_tokens=False), []) for text in texts]

    def _marked(self, texts: list[str], with_offsets: bool) -> list[Encoded]:
        return _batch(self.control.renamed_backend, [self.control.renamed(text) for text in texts], with_offsets)


def _batch(backend: Any, texts: list[str], with_offsets: bool) -> list[Encoded]:
    backend.no_padding()
    backend.no_truncation()
    backend.encode_special_tokens = False
    try:
        if with_offsets:
            return [(item.ids, item.offsets) for item in backend.encode_batch(texts, add_special_tokens=False)]
        return [(item.ids, []) for item in backend.encode_batch_fast(texts, add_special_tokens=False)]
    except (TypeError, UnicodeEncodeError) as error:  # half a surrogate pair is no text
        raise DataError(f"a text cannot be encoded: {error}; expected valid Unicode") from None
