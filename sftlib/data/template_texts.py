"""The Jinja texts of the templates that can be named. A user turn may carry `instruction` and `input` beside `content`:
templates with sections of their own set them apart, the others read `content`, where both stand. A line break right
behind a block tag is written as an expression: Jinja, as models' own templates are compiled, would swallow it."""

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# No roles: the turns as they are, the answer behind a space. The shortest prompt, also for models that never chatted.
PLAIN = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %} {{ message['content'] }}{{ eos_token }}"
    "{% else %}{% if not loop.first %}{{ '\n' }}{% endif %}{{ message['content'] }}{% endif %}{% endfor %}"
)

ZEPHYR = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)

LLAMA3 = (
    "<|begin_of_text|>{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)

# gpt-oss: what we call the system prompt is the developer's; reasoning is shown to the model for the last answer only.
HARMONY = (
    "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
    "Knowledge cutoff: 2024-06\nCurrent date: {{ strftime_now('%Y-%m-%d') }}\n\n"
    "Reasoning: {{ reasoning_effort | default('medium') }}\n\n"
    "# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>"
    "{% for message in messages %}"
    "{% if message['role'] in ('system', 'developer') %}"
    "<|start|>developer<|message|># Instructions\n\n{{ message['content'] }}\n\n<|end|>"
    "{% elif message['role'] == 'assistant' %}"
    "{% if loop.last and message['thinking'] %}"
    "<|start|>assistant<|channel|>analysis<|message|>{{ message['thinking'] }}<|end|>{% endif %}"
    "<|start|>assistant<|channel|>final<|message|>{{ message['content'] }}"
    "{% if loop.last %}<|return|>{% else %}<|end|>{% endif %}"
    "{% else %}<|start|>{{ message['role'] }}<|message|>{{ message['content'] }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)


def _sections(ask: str, give: str, answer: str, preamble: str) -> str:
    """Headed sections, one after the other: what is asked, what is given with it, what is answered."""
    return (
        "{% for message in messages %}"
        "{% if message['role'] == 'system' %}{{ message['content'] }}\n\n"
        "{% elif message['role'] == 'assistant' %}" + answer + "{{ message['content'] }}{{ eos_token }}"
        "{% if not loop.last %}{{ '\n\n' }}{% endif %}"
        "{% else %}" + preamble + ask + "{{ message['instruction'] | default(message['content']) }}\n\n"
        "{% if message['input'] %}" + give + "{{ message['input'] }}\n\n{% endif %}"
        "{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}" + answer + "{% endif %}"
    )


ALPACA = _sections(
    "### Instruction:\n",
    "### Input:\n",
    "### Response:\n",
    "{% if loop.first %}Below is an instruction that describes a task"
    "{% if message['input'] %}, paired with an input that provides further context{% endif %}. "
    "Write a response that appropriately completes the request.\n\n{% endif %}",
)

INSTRUCTION = _sections("### Instruction\n", "### Input\n", "### Output\n", "")
