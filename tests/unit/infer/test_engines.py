"""One interface: what every engine in the registry has, and what vllm is asked for. vLLM itself needs a GPU: here a stand-in
with its call signatures shows that requests and answers are put together rightly, not that vLLM answers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from sftlib.config.checks import check_tree
from sftlib.config.model import LoraSection
from sftlib.config.tree import SFTConfig
from sftlib.data.rendering import Prompt, Renderer
from sftlib.data.samples import Sample
from sftlib.errors import InputError
from sftlib.infer.answers import FAILED
from sftlib.infer.engines import ENGINES, EngineSlot
from sftlib.infer.vllm_engine import VllmEngine, lora_rank

TASK = {"type": "classification", "labels": ["hate", "normal"], "positive": "hate", "target": "json"}


def config(model: Path, engine: str, **predict: Any) -> SFTConfig:
    values = {
        "task": TASK,
        "model": {"name_or_path": str(model), "dtype": "float32"},
        "predict": {"engine": engine, **predict},
    }
    return SFTConfig.model_validate(values)


def ask(settings: SFTConfig, model: Path) -> tuple[Renderer, list[Prompt]]:
    renderer = Renderer(settings, AutoTokenizer.from_pretrained(model))
    texts = ["one", "two words", "one"]
    return renderer, [
        renderer.prompt(Sample(str(i), [{"role": "user", "content": t}], None)) for i, t in enumerate(texts)
    ]


@pytest.fixture
def fake_vllm(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> Iterator[ModuleType]:
    module, lora, sampling = ModuleType("vllm"), ModuleType("vllm.lora.request"), ModuleType("vllm.sampling_params")
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()

    class LLM:
        def __init__(self, model: str, **arguments: Any) -> None:
            module.loaded = {"model": model, **arguments}  # type: ignore[attr-defined]

        def generate(self, prompts: list, sampling_params: Any, *, use_tqdm: bool, lora_request: Any) -> list:
            module.asked = (sampling_params, lora_request)  # type: ignore[attr-defined]
            return [self._output(prompt["prompt_token_ids"]) for prompt in prompts]

        def _output(self, ids: list[int]) -> Any:
            with torch.inference_mode():
                table = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            logprobs = [None, *({t: SimpleNamespace(logprob=table[i, t].item())} for i, t in enumerate(ids[1:]))]
            said = SimpleNamespace(
                text='{"classification": "normal"}', token_ids=[1, 2], finish_reason=getattr(module, "finish", "stop")
            )
            return SimpleNamespace(prompt_logprobs=logprobs, outputs=[said])

    module.LLM, module.SamplingParams = LLM, lambda **given: SimpleNamespace(**given)  # type: ignore[attr-defined]
    lora.LoRARequest = lambda name, number, path: (name, number, path)  # type: ignore[attr-defined]
    sampling.StructuredOutputsParams = lambda choice: {"choice": choice}  # type: ignore[attr-defined]
    for name, part in (("vllm", module), ("vllm.lora.request", lora), ("vllm.sampling_params", sampling)):
        monkeypatch.setitem(sys.modules, name, part)
    yield module


def put_adapter(folder: Path, module: str) -> None:
    (folder / "adapter_config.json").write_text('{"r": 4}')
    save_file({f"base_model.model.{module}.lora_A.weight": torch.zeros(4, 8)}, folder / "adapter_model.safetensors")


def test_vllm_scores_are_those_of_transformers(fake_vllm: ModuleType, tiny_model: Path) -> None:
    ours, theirs = config(tiny_model, "transformers"), config(tiny_model, "vllm")
    renderer, prompts = ask(ours, tiny_model)
    slot = EngineSlot()
    answers = []
    for settings in (ours, theirs):
        engine = slot.engine(settings, "float32")
        engine.use(None)
        answers.append(engine.scorer(renderer, settings).answer(prompts, lambda count: None))
    expected, found = answers
    for a, b in zip(expected, found, strict=True):
        assert a.label_logprobs == pytest.approx(b.label_logprobs, abs=1e-4) and a.prediction == b.prediction
    linear = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert fake_vllm.loaded["lora_target_modules"] == linear  # the output head is not among them
    assert fake_vllm.loaded["max_lora_rank"] == 32 and fake_vllm.loaded["enable_prefix_caching"] is True


def test_vllm_is_asked_for_what_the_strategy_says(fake_vllm: ModuleType, tiny_model: Path, tmp_path: Path) -> None:
    settings = config(
        tiny_model, "vllm", method="generate", temperature=0.7, top_p=0.9, max_new_tokens=5, stop=["\n"], constrain=True
    )
    renderer, prompts = ask(settings, tiny_model)
    engine = VllmEngine(settings, "float32")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    put_adapter(adapter, "self_attn.q_proj")
    engine.use(adapter)
    answers = engine.generator(renderer, settings).answer(prompts, lambda count: None)
    assert [answer.prediction for answer in answers] == ["normal"] * 3
    asked, request = fake_vllm.asked
    assert request == ("adapter-1", 1, str(adapter))
    assert (asked[0].temperature, asked[0].top_p, asked[0].max_tokens, asked[0].stop) == (0.7, 0.9, 5, ["\n"])
    assert asked[0].structured_outputs == {"choice": ['{"classification": "hate"}', '{"classification": "normal"}']}
    assert len({parameters.seed for parameters in asked}) == 3  # equal prompts draw differently


def test_an_answer_that_vllm_broke_off_is_none(fake_vllm: ModuleType, tiny_model: Path) -> None:
    settings = config(tiny_model, "vllm", method="generate")
    renderer, prompts = ask(settings, tiny_model)
    fake_vllm.finish = "abort"  # type: ignore[attr-defined]
    found = VllmEngine(settings, "float32").generator(renderer, settings).answer(prompts, lambda count: None)
    assert found == [FAILED] * 3


def test_what_vllm_cannot_do_is_said(fake_vllm: ModuleType, tiny_model: Path, tmp_path: Path) -> None:
    assert lora_rank(33) == 64
    with pytest.raises(InputError, match="up to rank 512"):
        lora_rank(600)
    engine = VllmEngine(config(tiny_model, "vllm"), "float32")
    (tmp_path / "adapter_config.json").write_text('{"use_dora": true}')
    with pytest.raises(InputError, match="DoRA"):
        engine.use(tmp_path)
    put_adapter(tmp_path, "lm_head")
    with pytest.raises(InputError, match="no adapter on lm_head"):
        engine.use(tmp_path)


def test_what_vllm_cannot_serve_is_a_problem_of_the_plan() -> None:
    def problems(**values: dict) -> list[str]:
        config = SFTConfig.model_validate({"task": TASK, "predict": {"engine": "vllm"}, **values})
        return [problem.message for problem in check_tree(config) if problem.key == "predict.engine"]

    assert problems() == [] and problems(model={"quantization": {"kind": "nf4"}}) == []
    for lora in ({"enabled": False}, {"dora": True}, {"bias": "all"}, {"modules_to_save": ["lm_head"]}, {"r": 600}):
        assert len(problems(lora=lora)) == 1
    assert "int8" in problems(model={"quantization": {"kind": "int8"}})[0]


def test_vllm_has_room_for_each_cells_rank(fake_vllm: ModuleType, tiny_model: Path) -> None:
    slot = EngineSlot()
    for rank, room in ((8, 8), (64, 64), (8, 8)):
        slot.engine(config(tiny_model, "vllm").model_copy(update={"lora": LoraSection(r=rank)}), "float32")
        assert fake_vllm.loaded["max_lora_rank"] == room


def test_a_missing_vllm_is_named_with_its_remedy(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(InputError, match=r"not installed here.*pip install 'sftlib\[vllm\]'"):
        EngineSlot().engine(config(tiny_model, "vllm"), "float32")


def test_the_registry_names_what_the_configuration_allows(tiny_model: Path) -> None:
    for engine in ENGINES:
        assert config(tiny_model, engine).predict.engine == engine
    with pytest.raises(ValueError, match="engine"):
        config(tiny_model, "another")


def test_a_base_is_loaded_once_for_all_that_share_it(tiny_model: Path) -> None:
    slot = EngineSlot()
    first = slot.engine(config(tiny_model, "dummy"), "float32")
    assert slot.engine(config(tiny_model, "dummy", num_shards=9), "float32") is first
    assert slot.engine(config(tiny_model, "dummy"), "bfloat16") is not first
