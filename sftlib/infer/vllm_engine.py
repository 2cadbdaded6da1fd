"""Engine `vllm` (an extra): continuous batching and paged caches on a GPU, behind the same interface.

Adapters are requests on one loaded base. Tried with vLLM 0.32.0 on a CPU (LLM.generate, SamplingParams,
StructuredOutputsParams, LoRARequest).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sftlib.config.tree import SFTConfig
from sftlib.data.rendering import Prompt, Renderer
from sftlib.data.samples import target_text
from sftlib.errors import InputError, UnhealthyNodeError
from sftlib.infer.answers import FAILED, Answer, scored_answer
from sftlib.infer.decoding import record_seed
from sftlib.infer.engines import Tick
from sftlib.infer.generating import read_answer
from sftlib.infer.scoring import label_ids
from sftlib.models.loading import model_source
from sftlib.paths import ADAPTER_CONFIG, ADAPTER_WEIGHTS

_QUANTIZATION = {"none": None, "nf4": "bitsandbytes", "mxfp4": None}  # mxfp4 stands in the model's own configuration
_BROKEN_OFF = ("abort", "error")
_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM's kernels are made for


class VllmEngine:
    def __init__(self, config: SFTConfig, dtype: str) -> None:
        kind = config.model.quantization.kind
        if kind not in _QUANTIZATION:
            raise InputError(f"predict.engine = 'vllm' does not load {kind} weights: use transformers, or nf4")
        _narrow_devices()
        vllm = _import_vllm()
        self._vllm, self._adapter = vllm, None
        self._modules: list[str] | None = None  # that an adapter may be on; None: whatever vLLM supports
        self._model = vllm.LLM(
            model=model_source(config), tokenizer=config.model.tokenizer, revision=config.model.revision, dtype=dtype,
            quantization=_QUANTIZATION[kind], trust_remote_code=config.model.trust_remote_code, seed=config.predict.seed,
            max_model_len=-1,  # as long as fits: a model's own 128k tokens would be refused on a smaller device
            enable_prefix_caching=config.predict.prefix_cache, **self._lora_arguments(config),
        )  # fmt: skip
        self._numbers: dict[Path, int] = {}

    def _lora_arguments(self, config: SFTConfig) -> dict[str, Any]:
        if not config.lora.enabled:
            return {}
        if not config.lora.target_parameters:  # experts are no linear layers
            self._modules = linear_names(config)
        # Not the output head: wrapped for adapters it fails on the rows of prompt_logprobs (0.32, on a CPU).
        return {"enable_lora": True, "max_lora_rank": lora_rank(config.lora.r), "lora_target_modules": self._modules}

    def use(self, adapter: Path | None) -> None:
        self._adapter = None if adapter is None else self._request(adapter)

    def scorer(self, renderer: Renderer, config: SFTConfig) -> _Scorer:
        return _Scorer(self._vllm, self._model, self._adapter, renderer, config)

    def generator(self, renderer: Renderer, config: SFTConfig) -> _Generator:
        return _Generator(self._vllm, self._model, self._adapter, renderer, config)

    def _request(self, adapter: Path) -> Any:
        from vllm.lora.request import LoRARequest

        path = adapter / ADAPTER_CONFIG
        if not path.exists():
            raise InputError(f"{adapter} holds no LoRA adapter: predict.engine = 'vllm' takes nothing else on a base")
        asked = json.loads(path.read_text(encoding="utf-8"))
        if asked.get("use_dora") or asked.get("modules_to_save") or asked.get("bias", "none") != "none":
            raise InputError(
                f"{adapter}: vllm serves no DoRA, modules_to_save or biases: use predict.engine = 'transformers'"
            )
        unknown = sorted(adapted_names(adapter) - set(self._modules)) if self._modules else []
        if unknown:  # vLLM would leave them out without a word
            raise InputError(
                f"{adapter}: vllm serves no adapter on {', '.join(unknown)}: use predict.engine = 'transformers'"
            )
        number = self._numbers.setdefault(adapter, len(self._numbers) + 1)
        return LoRARequest(f"adapter-{number}", number, str(adapter))


class _Answerer:
    def __init__(self, vllm: Any, model: Any, adapter: Any, renderer: Renderer, config: SFTConfig) -> None:
        self._vllm, self._model, self._adapter = vllm, model, adapter
        self._renderer, self._config = renderer, config

    def prepare(self, prompts: Sequence[Prompt]) -> None:
        """vLLM finds shared beginnings by itself."""

    def _run(self, rows: Sequence[Sequence[int]], parameters: Any) -> list[Any]:
        prompts = [{"prompt_token_ids": list(row)} for row in rows]
        return list(self._model.generate(prompts, parameters, use_tqdm=False, lora_request=self._adapter))


class _Scorer(_Answerer):
    """Each label behind each prompt as a prompt of its own; vLLM tells the log-probability of every prompt token."""

    def answer(self, prompts: Sequence[Prompt], tick: Tick) -> list[Answer]:
        labels = label_ids(self._renderer, self._config)
        rows = [[*prompt.ids, *label] for prompt in prompts for label in labels]
        outputs = self._run(rows, self._vllm.SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0))
        sums = [
            prompt_logprob(output.prompt_logprobs, row, len(row) - len(labels[at % len(labels)]))
            for at, (output, row) in enumerate(zip(outputs, rows, strict=True))
        ]
        tick(len(prompts))
        return [
            scored_answer(sums[start : start + len(labels)], self._config.task)
            for start in range(0, len(sums), len(labels))
        ]


class _Generator(_Answerer):
    def answer(self, prompts: Sequence[Prompt], tick: Tick) -> list[Answer]:
        parameters = [self._parameters(prompt) for prompt in prompts]
        outputs = [output.outputs[0] for output in self._run([prompt.ids for prompt in prompts], parameters)]
        tick(len(prompts))
        return [
            FAILED if output.finish_reason in _BROKEN_OFF else read_answer(
                output.text, self._config, truncated=output.finish_reason == "length",
                new_tokens=sum(token not in self._renderer.stop_ids for token in output.token_ids),
            )
            for output in outputs
        ]  # fmt: skip

    def _parameters(self, prompt: Prompt) -> Any:
        predict, task = self._config.predict, self._config.task
        arguments: dict[str, Any] = {}
        if predict.constrain:
            from vllm.sampling_params import StructuredOutputsParams

            choice = [target_text(label, self._config) for label in task.labels]
            arguments["structured_outputs"] = StructuredOutputsParams(choice=choice)
        return self._vllm.SamplingParams(
            temperature=predict.temperature, top_p=predict.top_p, max_tokens=predict.max_new_tokens,
            stop=predict.stop or None, stop_token_ids=self._renderer.stop_ids,
            skip_special_tokens=False,  # the parser reads channels
            seed=record_seed(predict.seed, prompt), **arguments,
        )  # fmt: skip


def prompt_logprob(logprobs: Sequence[Any], row: Sequence[int], start: int) -> float:
    """The log-likelihood of the row's tokens from `start` on, out of vLLM's list of {token: Logprob}."""
    return sum(float(logprobs[at][row[at]].logprob) for at in range(start, len(row)))


def linear_names(config: SFTConfig) -> list[str]:
    """The last names of the model's linear layers but its output head; no weight is loaded for them."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    trusted = config.model.trust_remote_code
    described = AutoConfig.from_pretrained(
        model_source(config), revision=config.model.revision, trust_remote_code=trusted
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(described, trust_remote_code=trusted)
    head = model.get_output_embeddings()
    kinds = ("Linear", "Conv1D")  # the second is GPT-2's
    return sorted({
        name.rpartition(".")[2] for name, module in model.named_modules()
        if type(module).__name__ in kinds and module is not head
    })  # fmt: skip


def adapted_names(adapter: Path) -> set[str]:
    """The last names of the modules that the adapter has factors for."""
    from safetensors import safe_open

    with safe_open(adapter / ADAPTER_WEIGHTS, framework="pt") as weights:
        return {name.partition(".lora_")[0].rpartition(".")[2] for name in weights.keys()}  # noqa: SIM118 (no mapping)


def lora_rank(rank: int) -> int:
    """The smallest rank that vLLM has kernels for and that holds this one."""
    for known in _LORA_RANKS:
        if rank <= known:
            return known
    raise InputError(f"lora.r = {rank}: vllm serves adapters up to rank {_LORA_RANKS[-1]}: use transformers")


def _import_vllm() -> Any:
    try:
        import vllm
    except ImportError as error:
        raise InputError(
            f"predict.engine = 'vllm': the package is not installed here ({error}): pip install 'sftlib[vllm]', "
            f"or set predict.engine = 'transformers'"
        ) from None
    if not hasattr(vllm, "LLM"):
        raise UnhealthyNodeError("predict.engine = 'vllm': the package is there but incomplete: install it again")
    return vllm


def _narrow_devices() -> None:
    """A rank that torchrun started sees all devices; vLLM takes the first that it sees."""
    rank, visible = os.environ.get("LOCAL_RANK"), os.environ.get("CUDA_VISIBLE_DEVICES")
    if rank is not None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        names = visible.split(",") if visible else [str(number) for number in range(int(rank) + 1)]
        os.environ["CUDA_VISIBLE_DEVICES"] = names[int(rank) % len(names)]
