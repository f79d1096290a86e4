"""What is saved of models: files of text-generation-webui as they are, and what the page adds."""

import time
from pathlib import Path

import pytest

from extensions.engine_kit.api import Unsupported
from kernel.api import Refused

from .entries import pairs, put
from .matching import matcher
from .saved import OURS, THEIRS, Saved


@pytest.mark.parametrize(
    ("pattern", "names", "others"),
    [
        (".*llama.*-2.*chat", ["TheBloke_Llama-2-13B-Chat.gguf"], ["llama-3-chat", "x"]),
        ("llama", ["llama-2", "LLAMA"], ["my-llama"]),
        (".*(mistral|mixtral).*instruct", ["Mixtral-8x7B-Instruct"], ["mistral-base"]),
        ("model.Q4_K_M.gguf$", ["Model.q4_k_m.GGUF"], ["model.Q4_K_M.gguf.part"]),
        ("(v2) a+b [x].gguf$", ["(v2) a+b [x].gguf"], ["v2 b x.gguf"]),
        ("odd[name.gguf$", ["odd[name.gguf"], ["odd"]),
        ("(?!.*v0)(?!.*1[.]1).*vicuna", ["stable-vicuna"], ["vicuna-v0", "vicuna-1.1"]),
        ("^(?=.*chat).*yi", ["chat-yi"], ["yi-base"]),
        ("(?i).*QWEN$", ["my-qwen"], ["qwen2"]),
    ],
)
def test_patterns_mean_what_they_meant(pattern: str, names: list[str], others: list[str]):
    matches = matcher(pattern)
    assert [name for name in names if not matches(name)] == []
    assert [name for name in others if matches(name)] == []


@pytest.mark.parametrize(
    "pattern", [r"(a)\1", "a(?=b)c", "x" * 2000, "(?<=a)b", "((a{99}){99}){99}b*"]
)
def test_a_pattern_of_another_kind_is_refused(pattern: str):
    with pytest.raises(Unsupported):
        matcher(pattern)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(a*)*b", ".*.*.*.*.*.*.*.*x"])
def test_no_pattern_stalls(pattern: str):
    began = time.monotonic()
    assert not matcher(pattern)("a" * 250 + "!")
    assert time.monotonic() - began < 1


THEIR_FILE = """\
# mine
.*llama:
  loader: llama.cpp
  n_ctx: 2048
  n_gpu_layers: 10
.*:
  threads: 3
  unknown: {deep: [1]}

# Below this the page saved.
LLaMA-7B.gguf$:
  loader: llama.cpp   # a comment
  ctx_size: 4096
"""


def test_later_entries_win_and_the_base_name_counts(tmp_path: Path):
    (tmp_path / THEIRS).write_text(".*llama:\n  instruction_template: Llama-v2\n  threads: 9\n")
    (tmp_path / OURS).write_text(THEIR_FILE)
    saved = Saved(tmp_path)
    assert saved.look()
    assert not saved.look()
    says = {k: v for each in saved.of("folder/llama-7b.gguf") for k, v in each.items()}
    assert says == {
        "instruction_template": "Llama-v2", "threads": 3, "loader": "llama.cpp", "n_ctx": 2048,
        "n_gpu_layers": 10, "ctx_size": 4096,
    }  # fmt: skip
    assert saved.of("qwen") == [{"threads": 3}]
    assert saved.of("llama-7b.gguf", THEIRS) == [{"instruction_template": "Llama-v2", "threads": 9}]
    assert saved.own("x/LLaMA-7B.gguf") == {"loader": "llama.cpp", "ctx_size": 4096}
    assert len(saved.of("LLaMA-7B.gguf", own=False)) == 3


def test_what_is_saved_leaves_every_other_line(tmp_path: Path):
    file = tmp_path / OURS
    file.write_text(THEIR_FILE)
    saved = Saved(tmp_path)
    saved.look()
    saved.keep("sub/qwen (1).gguf", {"threads": 2, "lora": ["a = 0.5"]})
    text = file.read_text()
    assert text.startswith(THEIR_FILE)
    assert saved.own("qwen (1).gguf") == {"threads": 2, "lora": ["a = 0.5"]}
    saved.keep("qwen (1).gguf", None)
    assert file.read_text() == THEIR_FILE
    saved.keep("LLaMA-7B.gguf", {"threads": 8})
    assert "# Below this the page saved.\nLLaMA-7B.gguf$:\n  threads: 8\n" in file.read_text()
    assert "# mine" in file.read_text()


def test_what_is_saved_wins_over_what_stood_below_it(tmp_path: Path):
    (tmp_path / OURS).write_text("a.gguf$:\n  threads: 1\n# all\n.*:\n  threads: 3\n")
    saved = Saved(tmp_path)
    saved.look()
    saved.keep("a.gguf", {"threads": 2})
    assert [says["threads"] for says in saved.of("a.gguf")] == [3, 2]
    assert "# all\n.*:" in (tmp_path / OURS).read_text()


def test_the_first_entry_makes_the_file(tmp_path: Path):
    saved = Saved(tmp_path)
    saved.look()
    saved.keep("a: b.gguf", {"threads": 2})
    text = (tmp_path / OURS).read_text()
    assert text.startswith("# How models are loaded")
    assert saved.own("a: b.gguf") == {"threads": 2}
    saved.keep("a: b.gguf", None)
    assert saved.own("a: b.gguf") is None
    assert (tmp_path / OURS).read_text().startswith("# How models are loaded")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1\nb: 2\n", "line "),
        ("just words", "no list"),
        ("[" * 600, "nested too deeply"),
        ("a: " + "x" * (256 << 10), "larger than 256 KB"),
        ("a: !!python/object/apply:os.system ['true']\n", "config-user.yaml"),
    ],
)
def test_a_file_that_cannot_be_read_says_so_and_is_not_written(
    tmp_path: Path, text: str, said: str
):
    file = tmp_path / OURS
    file.write_text(text)
    saved = Saved(tmp_path)
    saved.look()
    assert said in " ".join(saved.trouble)
    assert saved.of("a.gguf") == []
    with pytest.raises(Refused, match=r"cannot be changed.*Correct it"):
        saved.keep("a.gguf", {"threads": 2})
    assert file.read_text() == text


def test_what_only_a_person_can_change_stays(tmp_path: Path):
    file = tmp_path / OURS
    file.write_text("{a.gguf$: {threads: 1}}\n")
    saved = Saved(tmp_path)
    saved.look()
    assert saved.own("a.gguf") == {"threads": 1}
    with pytest.raises(Refused, match="in braces"):
        saved.keep("a.gguf", {"threads": 2})


def test_a_pattern_that_cannot_be_is_told_and_costs_itself_alone(tmp_path: Path):
    (tmp_path / OURS).write_text("(a)\\1:\n  threads: 1\n.*:\n  threads: 2\n")
    saved = Saved(tmp_path)
    saved.look()
    assert saved.of("aa") == [{"threads": 2}]
    assert "“(a)\\1” is left out, for it refers back" in saved.trouble[0]


def test_patterns_without_end_cost_two_seconds_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(Saved.look.__globals__, "PATIENCE", 0.002)
    rows = [f"{'(a{9}|b)' * 20}{n}:\n  threads: {n}\n" for n in range(100)]
    (tmp_path / OURS).write_text("".join(rows))
    saved = Saved(tmp_path)
    saved.look()
    [said] = saved.trouble
    assert "it has too many patterns; from “(a{9}|b)" in said
    began = time.monotonic()
    saved.of("a" * 200)
    assert time.monotonic() - began < 1


def test_entries_that_two_programs_write(tmp_path: Path):
    before = "a$:\n  x: 1\na$:\n  x: 2\nb$:\n  x: 3\n"
    assert [pair[:2] for pair in pairs(before)] == [
        ("a$", {"x": 1}),
        ("a$", {"x": 2}),
        ("b$", {"x": 3}),
    ]
    assert put(before, "a$", {"x": 4}, last=False) == "a$:\n  x: 4\nb$:\n  x: 3\n"
    assert put(before, "a$", None, last=False) == "b$:\n  x: 3\n"
    assert put("", "a$", {"x": 4}, last=False) == "a$:\n  x: 4\n"
    told = "a$:\n  x: 1\n\n# about b\nb$:\n  x: 3\n"
    assert put(told, "a$", None, last=False) == "\n# about b\nb$:\n  x: 3\n"
    assert put(told, "a$", {"x": 4}, last=False) == told.replace("1", "4")
