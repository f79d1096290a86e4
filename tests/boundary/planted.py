"""A data folder with vectors in all that is kept in files: chats, manifests, settings, names."""

import json
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from extensions.conversations.schema import MIGRATIONS
from kernel.names import LONGEST
from tests.boundary.served import HERE
from tests.ggufs import a_gguf
from tests.repositories import Repo

PAIRS = 50
"""Questions with their answers in one conversation: as many messages as a page is sent."""
SAID = (
    "general.name", "general.architecture", "general.license.name", "tokenizer.chat_template",
    "general.base_model.0.name",
)  # fmt: skip
"""What a model's header says of itself in words."""
WORD = "pwned"
"""Stands in nearly every vector: what is searched for."""


def plant(data: Path, models: Path, vectors: Sequence[str]) -> None:
    """Fill both folders."""
    data.mkdir(parents=True)
    models.mkdir(parents=True)
    (data / "vectors.json").write_text(json.dumps(vectors), "utf-8")
    folder = data / "extensions" / "hostile"
    shutil.copytree(HERE / "hostile", folder, ignore=shutil.ignore_patterns("__pycache__"))
    manifests(data / "extensions", vectors)
    files(models, vectors)
    saved(models, vectors)
    adapters(models.with_name("loras"), vectors)
    starters(models, vectors)
    shelves(data, vectors)
    written(data, vectors)
    settings(data, vectors)
    chats(data / "chats.sqlite3", vectors)
    characters(data, vectors)
    keys(data / "secrets", vectors)


def names(vectors: Sequence[str]) -> Iterator[str]:
    """What of the vectors can be the name of a file."""
    for vector in vectors:
        if not set(vector) & {"/", "\0"} and len(vector.encode()) < LONGEST:
            yield vector.strip(".")


def files(models: Path, vectors: Sequence[str]) -> None:
    """Models that are called like that, and folders of them."""
    for number, name in enumerate(names(vectors)):
        path = models / name / f"{name}.bin" if number % 9 == 0 else models / f"{name}.bin"
        path.parent.mkdir(exist_ok=True)
        path.touch()
        # As PyTorch's files begin, so that it is offered to be converted.
        (models / f"{name}.pt").write_bytes(b"PK\x03\x04")
    (models / "said").mkdir()
    for number, vector in enumerate(vectors):
        (models / "said" / f"{number}.gguf").write_bytes(a_gguf(dict.fromkeys(SAID, vector)))


def saved(models: Path, vectors: Sequence[str]) -> None:
    """What is saved of models: patterns and values are vectors, and some of them cannot be read."""
    lines: list[str] = []
    for vector in (v for v in vectors[::6] if not set(v) & set("[{")):
        said = json.dumps(vector[:200])
        never = json.dumps(r"(x)\1" + vector[:200])
        lines += [f"{said}: {{loader: {said}}}", f"{never}: {{}}"]
    (models / "config-user.yaml").write_text("\n".join(lines), "utf-8")


def adapters(loras: Path, vectors: Sequence[str]) -> None:
    """Adapters that are called like that, and whose base and modules are."""
    loras.mkdir()
    for name in names(vectors):
        (loras / f"{name}.gguf").touch()
    for number, vector in enumerate(vectors):
        folder = loras / f"planted{number}"
        folder.mkdir()
        config = {"peft_type": "LORA", "base_model_name_or_path": vector}
        (folder / "adapter_config.json").write_text(json.dumps(config), "utf-8")
        half = {"dtype": "F32", "shape": [1, 1]}
        header = json.dumps({
            f"m.{vector}.lora_A.weight": {**half, "data_offsets": [0, 4]},
            f"m.{vector}.lora_B.weight": {**half, "data_offsets": [4, 8]},
        }).encode()  # fmt: skip
        data = len(header).to_bytes(8, "little") + header + bytes(8)
        (folder / "adapter_model.safetensors").write_bytes(data)


def repositories(vectors: Sequence[str]) -> list[Repo]:
    """What a hub may say of models: vectors in all of it."""
    found: list[Repo] = []
    for number, first in enumerate(range(0, len(vectors), 150)):
        some = list(vectors[first : first + 150])
        said = (*some[:20], *(f"license:{vector}" for vector in some[:3]), "gguf")
        head = {"license": some[0], "base_model": some[:5], "license_name": some[-1]}
        repo = Repo(f"me/hostile{number}", tags=said, card=head, pipeline=some[1])
        card = json.dumps({"license": some[0], "base_model": some, "language": some})
        body = "\n\n".join((*some, *(f"`{vector}`" for vector in some), f"- {some[0]}"))
        files = {f"{vector}.gguf": 9 for vector in some} | {f"x/{v}.json": "{}" for v in some}
        repo.commit({**files, "README.md": f"---\n{card}\n---\n{body}"})
        found.append(repo)
    return found


def starters(models: Path, vectors: Sequence[str]) -> None:
    """A list of small models with vectors in every entry, and in the names of fields."""
    said = [vector for vector in vectors if vector.isprintable() and len(vector) < 150]
    good = [
        {"name": v, "repo": "me/hostile0", "file": f"{v}.gguf", "size": v, "licence": v, "says": v}
        for v in said[:150]
    ]
    bad = [{"name": "x", "repo": v, "file": v} for v in said[:2]] + [{v: v} for v in said[:3]]
    tree = {"written": said[0], "models": [*bad, *good]}
    (models / "starters.yaml").write_text(json.dumps(tree), "utf-8")


def keys(secrets: Path, vectors: Sequence[str]) -> None:
    """Keys for programs that are called like that."""
    secrets.mkdir()
    made = [{"name": v, "hash": f"{n:064x}"[::-1], "made": 1} for n, v in enumerate(vectors)]
    (secrets / "keys.json").write_text(json.dumps(made), "utf-8")


def characters(data: Path, vectors: Sequence[str]) -> None:
    """Cards with a vector in every field, some called like one; lorebooks; and personas."""
    for folder in ("characters", "users", "worlds"):
        (data / folder).mkdir()
    for number, vector in enumerate(vectors):
        entry = {
            "keys": [vector], "secondary_keys": [vector], "selective": True, "name": vector,
            "content": vector, "enabled": True, "insertion_order": 1, "extensions": {},
        }  # fmt: skip
        card = {
            **dict.fromkeys(CARD_FIELDS, vector), "tags": [vector], "unknown": vector,
            vector: vector, "alternate_greetings": [vector], "group_only_greetings": [vector],
            "assets": [{"type": "icon", "uri": vector, "name": vector, "ext": vector}],
            "extensions": {"depth_prompt": {"prompt": vector, "depth": 4, "role": vector}},
            "character_book": {"name": vector, "entries": [entry]},
        }  # fmt: skip
        tree = {"spec": "chara_card_v3", vector: vector, "data": card}
        text = json.dumps(tree, ensure_ascii=True)
        (data / "characters" / f"planted{number}.json").write_text(text, "utf-8")
    for number, name in enumerate(names(vectors)):
        (data / "characters" / f"{name}.json").write_text("{" if number % 9 else '{"name": "x"}')
        (data / "worlds" / f"{name}.json").write_text("{" if number % 9 else '{"entries": {}}')
    for number, vector in enumerate(vectors[::8]):
        entry = {"uid": 0, "key": [vector, f"/(?={vector}"], "comment": vector, "content": vector,
                 "group": vector}  # fmt: skip
        world = json.dumps({"name": vector, "entries": {vector: entry}, vector: vector})
        (data / "worlds" / f"planted{number}.json").write_text(world, "utf-8")
        text = json.dumps({"name": vector, "user_bio": vector}, ensure_ascii=True)
        (data / "users" / f"planted{number}.yaml").write_text(text, "utf-8")


CARD_FIELDS = (
    "name", "nickname", "description", "personality", "scenario", "first_mes", "mes_example",
    "system_prompt", "post_history_instructions", "creator", "creator_notes", "character_version",
    "user_name",
)  # fmt: skip


def shelves(data: Path, vectors: Sequence[str]) -> None:
    """Presets and grammars that are called like that, and say it."""
    for number, name in enumerate(names(vectors)):
        folder, ending = (("presets", "yaml"), ("grammars", "gbnf"))[number % 2]
        (data / folder).mkdir(exist_ok=True)
        said = json.dumps(name)
        (data / folder / f"{name}.{ending}").write_text(f"{said}: {said}\n", "utf-8")


def written(data: Path, vectors: Sequence[str]) -> None:
    """Texts of the notebook that are called like that; what Default made of them; deleted ones."""
    for folder in ("notebook", "default", "notebook/trash"):
        (data / folder).mkdir()
    for name, vector in zip(names(vectors), vectors, strict=False):
        (data / "notebook" / f"{name}.txt").write_bytes(vector.encode())
        (data / "default" / f"{name}.txt").write_bytes(vector.encode())
    for number, name in enumerate([*names(vectors)][::9]):
        place = data / "notebook" / "trash" / f"{number:019d} {name}"
        if len(place.name.encode()) < LONGEST:
            place.mkdir()
            (place / "text.txt").write_text("x")


def toml(text: str) -> str:
    odd = {c: f"\\u{ord(c):04x}" for c in text if ord(c) < 32 or c in '"\\\x7f'}
    return '"' + "".join(odd.get(c, c) for c in text) + '"'


def manifests(extensions: Path, vectors: Sequence[str]) -> None:
    """Extensions that are off, and some that no manifest describes, called like a vector."""
    for number in range(0, len(vectors), 5):
        name, summary, version, license, may = [*vectors, *vectors][number : number + 5]
        folder = extensions / f"planted_{number}"
        folder.mkdir()
        (folder / "extension.toml").write_text(
            f'id = "planted_{number}"\nname = {toml(name)}\nsummary = {toml(summary)}\n'
            f"version = {toml(version)}\nlicense = {toml(license)}\nauthors = [{toml(may)}]\n"
            f"permissions = [{toml(may)}, {toml('files:' + name)}]\napi = 1\nenabled = false\n"
            f"[requires]\npython = [{toml(summary)}]\n",
            "utf-8",
        )
    for name in [*names(vectors)][::9]:
        folder = extensions / name
        folder.mkdir(exist_ok=True)
        (folder / "extension.toml").write_text(f"{toml(name)} = {toml(name)}\nid = 1\n", "utf-8")


def settings(data: Path, vectors: Sequence[str]) -> None:
    """Values of forms, keys that nobody knows, values that cannot be, an order of nobody's."""
    words = " ".join(vectors)
    wrong = {vector: vector for vector in vectors}
    values = {
        "extensions": {
            "chat": {"seed": words, **wrong},
            "instruct": {"system_message": words, **wrong},
            "models": {"at_start": True},
            **{vector: {"enabled": True} for vector in vectors},
        },
        "appearance": wrong,
        "order": list(vectors),
        **wrong,
    }
    (data / "settings.yaml").write_text(json.dumps(values, ensure_ascii=True), "utf-8")
    memory = data / "state" / "models" / "models.json"
    memory.parent.mkdir(parents=True)
    memory.write_text(json.dumps({"last": words[:2000], "choices": {}}), "utf-8")


def chats(path: Path, vectors: Sequence[str]) -> None:
    """A conversation for every `PAIRS` vectors, and one called like each."""
    now = time.time()
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.executescript("PRAGMA journal_mode = WAL")
        store.executescript(f"{';'.join(MIGRATIONS)}; PRAGMA user_version = {len(MIGRATIONS)}")
        store.execute("BEGIN")

        def conversation(id: str, title: str, leaf: str, touched: int) -> None:
            store.execute(
                "INSERT INTO conversations (id, title, leaf, touched, created, updated)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (id, title, leaf, touched, now, now),
            )

        for number, vector in enumerate(vectors[::40]):
            tag = "".join(vector.split())[:40]
            store.execute("INSERT OR IGNORE INTO folders (name) VALUES (?)", (vector[:60],))
            conversation(f"filed{number}", vector, "", 50_000 + number)
            store.execute(
                "UPDATE conversations SET folder = ?, tags = ? WHERE id = ?",
                (vector[:60], tag, f"filed{number}"),
            )
            conversation(f"deleted{number}", vector, "", 60_000 + number)
            store.execute(
                "UPDATE conversations SET deleted = ? WHERE id = ?", (now, f"deleted{number}")
            )

        def message(id: str, at: str, parent: str | None, role: str, said: str, **more: str) -> str:
            row = {
                "id": id, "conversation": at, "parent": parent, "role": role, "text": said,
                "state": "done", "created": now, **more,
            }  # fmt: skip
            marks = ", ".join("?" * len(row))
            store.execute(
                f"INSERT INTO messages ({', '.join(row)}) VALUES ({marks})", [*row.values()]
            )
            return id

        for number, vector in enumerate(vectors):
            conversation(f"titled{number}", vector, "", number + 1)
        for first in range(0, len(vectors), PAIRS):
            at, above = f"talk{first}", None
            some = vectors[first : first + PAIRS]
            conversation(at, vectors[first], f"a{first + len(some) - 1}", 10_000 + first)
            for number, vector in enumerate(some, first):
                above = message(f"u{number}", at, above, "user", vector)
                above = message(
                    f"a{number}", at, above, "assistant", vector,
                    raw=vector, reasoning=vector, error=vector, model=vector, loader=vector,
                    name=vector,
                )  # fmt: skip
        store.execute("COMMIT")
