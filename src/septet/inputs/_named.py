"""The named chat templates, and how they are fitted to a tokenizer.

A named template says `{% generation %}` around an answer and the token that ends it. `fitted` gives the one a tokenizer can read: BOS only
where its texts begin with BOS, and EOS for a mark that it does not know as one token. Tools and documents are not given to templates.
"""

from __future__ import annotations

import re
from typing import Any

# `end` closes a turn. Where the tokenizer does not know the mark as one token, `fitted` puts its EOS there.
_CHATML = r"""
{%- set end = '<|im_end|>' -%}
{{- bos_token -}}
{%- for message in messages -%}
    {{- '<|im_start|>' + message['role'] + '\n' -}}
    {%- if message['role'] == 'assistant' -%}
        {%- generation -%}{{- message['content'] + end -}}{%- endgeneration -%}
    {%- else -%}
        {{- message['content'] + end -}}
    {%- endif -%}
    {{- '\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}
"""

_LLAMA3 = r"""
{%- set end = '<|eot_id|>' -%}
{{- bos_token -}}
{%- for message in messages -%}
    {%- set speaker = 'ipython' if message['role'] == 'tool' else message['role'] -%}
    {{- '<|start_header_id|>' + speaker + '<|end_header_id|>\n\n' -}}
    {%- if speaker == 'assistant' -%}
        {%- generation -%}{{- message['content'] + end -}}{%- endgeneration -%}
    {%- else -%}
        {{- message['content'] + end -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}{%- endif -%}
"""

_ZEPHYR = r"""
{%- set end = eos_token or '' -%}
{{- bos_token -}}
{%- for message in messages -%}
    {{- '<|' + message['role'] + '|>\n' -}}
    {%- if message['role'] == 'assistant' -%}
        {%- generation -%}{{- message['content'] + end -}}{%- endgeneration -%}
    {%- else -%}
        {{- message['content'] + end -}}
    {%- endif -%}
    {{- '\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>\n' -}}{%- endif -%}
"""

# Gemma and Mistral know no system turn: its text stands before the next user's
_GEMMA = r"""
{%- set end = '<end_of_turn>' -%}
{{- bos_token -}}
{%- set kept = namespace(system='') -%}
{%- for message in messages -%}
    {%- if message['role'] == 'system' -%}
        {%- set kept.system = message['content'] + '\n\n' -%}
    {%- elif message['role'] == 'assistant' -%}
        {{- '<start_of_turn>model\n' -}}
        {%- generation -%}{{- message['content'] + end -}}{%- endgeneration -%}
        {{- '\n' -}}
    {%- else -%}
        {{- '<start_of_turn>user\n' + kept.system + message['content'] + end + '\n' -}}
        {%- set kept.system = '' -%}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\n' -}}{%- endif -%}
"""

# the space before an answer is said by the assistant: most tokenizers join it to the first word
_MISTRAL = r"""
{%- set end = eos_token or '' -%}
{{- bos_token -}}
{%- set kept = namespace(system='') -%}
{%- for message in messages -%}
    {%- if message['role'] == 'system' -%}
        {%- set kept.system = message['content'] + '\n\n' -%}
    {%- elif message['role'] == 'assistant' -%}
        {%- generation -%}{{- ' ' + message['content'] + end -}}{%- endgeneration -%}
    {%- else -%}
        {{- '[INST] ' + kept.system + message['content'] + ' [/INST]' -}}
        {%- set kept.system = '' -%}
    {%- endif -%}
{%- endfor -%}
"""

# the preamble is that of Taori et al. 2023 (stanford_alpaca, train.py); a system turn stands in its place
_ALPACA = r"""
{%- set end = eos_token or '' -%}
{{- bos_token -}}
{%- if messages and messages[0]['role'] != 'system' -%}
    {%- if messages[0]['input'] -%}
        {{- 'Below is an instruction that describes a task, paired with an input that provides further context. ' -}}
    {%- else -%}
        {{- 'Below is an instruction that describes a task. ' -}}
    {%- endif -%}
    {{- 'Write a response that appropriately completes the request.\n\n' -}}
{%- endif -%}
{%- for message in messages -%}
    {%- if message['role'] == 'system' -%}
        {{- message['content'] + '\n\n' -}}
    {%- elif message['role'] == 'assistant' -%}
        {{- '### Response:\n' -}}
        {%- generation -%}{{- message['content'] + end -}}{%- endgeneration -%}
        {%- if not loop.last or add_generation_prompt -%}{{- '\n\n' -}}{%- endif -%}
    {%- elif message['role'] == 'tool' -%}
        {{- '### Input:\n' + message['content'] + '\n\n' -}}
    {%- elif message['input'] -%}
        {{- '### Instruction:\n' + message['instruction'] + '\n\n### Input:\n' + message['input'] + '\n\n' -}}
    {%- else -%}
        {{- '### Instruction:\n' + message['content'] + '\n\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '### Response:\n' -}}{%- endif -%}
"""

_PLAIN = r"""
{%- set end = eos_token or '' -%}
{{- bos_token -}}
{%- for message in messages -%}
    {%- if message['role'] == 'assistant' -%}
        {%- generation -%}{{- message['content'] + end -}}{%- endgeneration -%}
        {%- if not loop.last or add_generation_prompt -%}{{- '\n' -}}{%- endif -%}
    {%- else -%}
        {{- message['content'] + '\n' -}}
    {%- endif -%}
{%- endfor -%}
"""

_VERBATIM = r"""
{%- set end = eos_token or '' -%}
{{- bos_token -}}
{%- for message in messages -%}
    {%- if message['role'] == 'assistant' -%}
        {%- generation -%}{{- message['content'] + end -}}{%- endgeneration -%}
    {%- else -%}
        {{- message['content'] -}}
    {%- endif -%}
{%- endfor -%}
"""

NAMED: dict[str, str] = {
    "alpaca": _ALPACA.strip(),
    "chatml": _CHATML.strip(),
    "gemma": _GEMMA.strip(),
    "llama3": _LLAMA3.strip(),
    "mistral": _MISTRAL.strip(),
    "plain": _PLAIN.strip(),
    "verbatim": _VERBATIM.strip(),
    "zephyr": _ZEPHYR.strip(),
}

_BOS = "{{- bos_token -}}\n"
_END = re.compile(r"set end = '([^']+)'")


def fitted(name: str, processor: Any) -> str:
    """Return a named template with the BOS and the end of turn that the tokenizer can read."""
    source = NAMED[name]
    if not _begins_with_bos(processor):
        source = source.replace(_BOS, "")
    mark = _END.search(source)
    if mark and processor.eos_token and not _is_one_token(mark[1], processor):
        source = source.replace(mark[0], "set end = eos_token")
    return source


def _begins_with_bos(processor: Any) -> bool:
    if processor.bos_token_id is None:
        return False
    return list(processor("a")["input_ids"])[:1] == [processor.bos_token_id]


def _is_one_token(mark: str, processor: Any) -> bool:
    return mark in {token.content for token in processor.added_tokens_decoder.values()}
