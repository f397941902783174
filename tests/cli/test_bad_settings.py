"""Whatever is wrong with a run's YAML or its options: one clear message, exit 2, nothing written.

Each case goes through `isthmus train`, from the YAML on.
"""

from __future__ import annotations

from pathlib import Path

from tests.cli.refusals import Case, contents, only, train
from tests.cli.spoilt import yaml

ONE = "run.yaml: 1 problem\n  "
GPT2 = "{model_type: gpt2, n_embd: 16, n_layer: 2, n_head: 2, n_positions: 64}"

CASES = [
    Case(
        "unknown key",
        yaml("optimizer:", "optimiser:"),
        ONE + "line 20: stages[0].optimiser: no such field. Fields: name, train, ... "
        "Did you mean 'optimizer'?",
    ),
    Case(
        "unknown key of a part",
        yaml("{type: linear}", "{type: mlp, dept: 3}"),
        ONE + "line 6: model.connector.dept: no such field. Fields of mlp: depth... "
        "Did you mean 'depth'?",
    ),
    Case(
        "wrong type",
        yaml("steps: 1", "steps: many"),
        ONE + "line 21: stages[0].steps: must be a whole number; found 'many'.",
    ),
    Case(
        "number as a string",
        yaml("lr: 1e-5", "lr: '1e-5'"),
        ONE + "line 20: stages[0].optimizer.lr: must be a number; found '1e-5'.",
    ),
    Case(
        "misspelt type of a part",
        yaml("{type: linear}", "{type: linaer}"),
        ONE + "line 6: model.connector.type: no connector is called 'linaer'. Known: ... "
        "Did you mean 'linear'?",
    ),
    Case(
        "misspelt part in train",
        yaml("{connector: full}", "{conector: full}"),
        ONE + "line 17: stages[0].train.conector: no part has this name. "
        "Parts: encoder, connector, llm. Did you mean 'connector'?",
    ),
    Case(
        "wrong setting on the command line",
        lambda folder: None,
        ONE + "stages[0].steps: must be a number above 0; found -3.",
        arguments=("--set", "stages.0.steps=-3"),
    ),
    Case(
        "text branch without a tokenizer",
        yaml("{type: linear}", "{type: qformer, text: instruction}"),
        ONE
        + "line 6: model.connector.tokenizer: `text: instruction` is read in tokens of its own; "
        "write `tokenizer: bert-base-uncased`, ..., or leave out `text`",
    ),
    Case(
        "more queries than positions",
        yaml("{type: linear}", "{type: resampler, queries: 64}"),
        ONE + "line 6: model.connector: an image becomes 64 visual tokens, and the llm has "
        "positions for 64, which leaves none for words; let resampler give fewer, or ...",
        arguments=("--set", f"model.llm.config={GPT2}"),
    ),
    Case(
        "more queries than a sample may be long",
        yaml("{type: linear}", "{type: cross_attention, queries: 32}"),
        ONE + "stages[0].max_length: an image becomes 32 visual tokens or more, which are never "
        "cut, and a sample of 32 has no place for words; allow more, or let model.connector give "
        "fewer",
        arguments=("--set", "stages.0.max_length=32"),
    ),
    Case(
        "gated cross-attention inside gated cross-attention",
        yaml(
            "{type: linear}",
            "{type: gated_cross_attention, states: {type: gated_cross_attention}}",
        ),
        ONE + "line 6: model.connector.states: gated_cross_attention enters the LLM itself; take a "
        "connector that gives visual tokens, like `resampler` or `mlp`, or leave it out",
    ),
    Case(
        "two problems at once",
        yaml(
            "batch: {samples: 4}\n    optimizer: {lr: 1e-5}", "batch: {}\n    optimizer: {lrs: 1}"
        ),
        "run.yaml: 2 problems\n"
        "  line 19: stages[0].batch: give either `samples` or `tokens`, the size of one step\n"
        "  line 20: stages[0].optimizer.lrs: no such field. Fields: lr, ... Did you mean 'lr'?",
    ),
    Case(
        "duplicate key",
        yaml("steps: 1", "steps: 1\n    steps: 2"),
        ONE + "line 22: stages[0].steps: given twice, first on line 21",
    ),
    Case(
        "YAML that is not YAML",
        yaml("{connector: full}", "{connector: full]"),
        ONE + "line 17: YAML: while parsing a flow mapping expected ',' or '}', but got ']'",
    ),
    Case(
        "text instead of YAML",
        lambda folder: (folder / "run.yaml").write_text("hello"),
        ONE + "a mapping (`key: value`) is needed; found a str",
    ),
    Case(
        "no YAML",
        lambda folder: (folder / "run.yaml").unlink(),
        ONE + "cannot be read: No such file or directory",
    ),
]


def test_folder_that_holds_a_run_is_left_as_it_is(good_run: Path):
    # `--resume` where there is nothing to resume begins; `1e-5` is a number.
    begun = train("--resume", "--out", "other")
    assert begun.exit_code == 0, begun.stderr
    assert "1.0e-05" in begun.stdout
    before = contents(good_run)
    again = train("--out", "other")
    assert again.exit_code == 2
    message = (
        "out: other already holds a run. Write --resume to go on with it (in Python: "
        "resume=True), or give another folder with --out"
    )
    assert only(message, good_run).fullmatch(again.stderr)
    changed = train("--out", "other", "--resume", "--set", "stages.0.optimizer.lr=1e-4")
    assert changed.exit_code == 2
    message = (
        "other/checkpoints/01-align-000001 was trained with other settings: "
        "stages[0].optimizer.lr was 1e-05 and is 0.0001. Give them back to resume, or start a new "
        "run with --out"
    )
    assert only(message, good_run).fullmatch(changed.stderr)
    damaged = good_run / "other" / "checkpoints" / "01-align-000001" / "trainer.json"
    damaged.write_text("{}")
    before[str(damaged.relative_to(good_run))] = b"{}"
    broken = train("--out", "other", "--resume")
    assert broken.exit_code == 2
    message = (
        "other: no checkpoint in it is whole\n  other/checkpoints/01-align-000001: damaged: "
        "trainer.json has 2 bytes instead of ..."
    )
    assert only(message, good_run).fullmatch(broken.stderr)
    assert contents(good_run) == before
