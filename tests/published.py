"""Published conversation formats, written out by hand: what templates are held against.

Sources: lm-sys/FastChat and haotian-liu/LLaVA (`conversation.py`: `vicuna_v1`,
`llava_llama_2`, `plain`), OpenAI's ChatML.
"""

from __future__ import annotations

from collections.abc import Sequence

Round = tuple[str, str]
Piece = tuple[str, bool]
"""Characters, and whether they are an answer or its stop."""

VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
LLAMA_SYSTEM = (
    "You are a helpful language and vision assistant. You are able to understand the visual "
    "content that the user provides, and assist the user with a variety of tasks using "
    "natural language."
)


def plain(rounds: Sequence[Round], bos: str, eos: str) -> list[Piece]:
    pieces = []
    for question, answer in rounds:
        pieces += [("<image>" * question.count("<image>"), False), (answer + "\n", True)]
    return pieces


def vicuna_v1(rounds: Sequence[Round], bos: str, eos: str) -> list[Piece]:
    pieces = [(f"{VICUNA_SYSTEM} ", False)]
    for question, answer in rounds:
        pieces += [(f"USER: {question} ASSISTANT: ", False), (answer + eos, True)]
    return pieces


def llama2(rounds: Sequence[Round], bos: str, eos: str) -> list[Piece]:
    head = f"[INST] <<SYS>>\n{LLAMA_SYSTEM}\n<</SYS>>\n\n"
    pieces = []
    for question, answer in rounds:
        pieces += [(f"{head}{question} [/INST] ", False), (f"{answer} {eos}", True)]
        head = f"{bos}[INST] "
    return pieces


def chatml(rounds: Sequence[Round], bos: str, eos: str) -> list[Piece]:
    pieces = []
    for question, answer in rounds:
        pieces += [
            (f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n", False),
            (f"{answer}<|im_end|>", True),
            ("\n", False),
        ]
    return pieces


FORMATS = {"plain": plain, "vicuna_v1": vicuna_v1, "llama2": llama2, "chatml": chatml}
