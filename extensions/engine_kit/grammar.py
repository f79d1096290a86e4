"""Grammars are read here before llama.cpp sees them: some would end the process, or never end.

llama.cpp reads them recursively, copies what is repeated, and looks for left recursion without
remembering where it looked; GBNF of 60 lines keeps it busy for years.
"""

from collections import defaultdict, deque
from collections.abc import Container, Iterator, Mapping, Sequence

from extensions.engine_kit.ambiguity import doubles
from extensions.engine_kit.gbnf import Rule, read
from extensions.engine_kit.schemas import from_schema
from kernel.contract import Refused

LONGEST = 200_000
"""Letters of a grammar."""
MOST_STEPS = 5_000_000
"""Calls that llama.cpp's search for left recursion may take."""
DEEPEST = 5_000
"""Rules that begin with one another, each of which is a call within the last."""


def as_gbnf(grammar: str) -> str:
    """A grammar that llama.cpp can be given: GBNF, or a JSON schema (it begins with a brace), which
    becomes GBNF; raises Refused with the reason and the line."""
    if not grammar.strip():
        return ""
    if len(grammar) > LONGEST:
        raise Refused(
            f"The grammar has {len(grammar):,} letters, and {LONGEST:,} are the most. Shorten it."
        )
    if grammar.lstrip().startswith("{"):
        grammar = from_schema(grammar)
    rules = read(grammar)
    if "root" not in rules:
        raise Refused("The grammar has no rule called root, with which replies begin. Add one.")
    check(rules)
    return grammar


def check(rules: Mapping[str, Rule]) -> None:
    """Refuse rules that name others that do not exist, begin with themselves, or would keep
    llama.cpp busy for too long."""
    for name, rule in rules.items():
        for part in (part for parts in rule for part in parts):
            if isinstance(part, str) and part not in rules:
                raise Refused(f"The grammar's rule {shown(name)} names {part}, which is no rule.")
    nothing = empty(rules)
    begins = {name: beginnings(rule, nothing) for name, rule in rules.items()}
    steps, deepest = walk(begins)
    if steps > MOST_STEPS or deepest > DEEPEST:
        raise Refused("The grammar's rules lie too deep within each other. Simplify it.")
    if doubles(rules):
        raise Refused(
            "After a few letters the grammar can be read in too many ways at once. Write it so "
            "that what begins alike has one beginning."
        )


def empty(rules: Mapping[str, Rule]) -> set[str]:
    """The rules that may stand for nothing at all."""
    users = defaultdict[str, list[str]](list)
    for name, rule in rules.items():
        for part in {part for parts in rule for part in parts if isinstance(part, str)}:
            users[part].append(name)
    found = set[str]()
    todo = deque(rules)
    while todo:
        name = todo.popleft()
        if name not in found and any(found.issuperset(parts) for parts in rules[name]):
            found.add(name)
            todo += users[name]
    return found


def beginnings(rule: Rule, nothing: Container[str]) -> list[str]:
    """The rules that it may begin with, as often as they are named."""
    found: list[str] = []
    for parts in rule:
        for part in parts:
            if isinstance(part, str):
                found.append(part)
            if not isinstance(part, str) or part not in nothing:
                break
    return found


def walk(begins: Mapping[str, Sequence[str]]) -> tuple[int, int]:
    """The calls that a search through all beginnings takes, and how deep it goes."""
    steps, depth = dict[str, int](), dict[str, int]()
    for first in begins:
        path: dict[str, Iterator[str]] = {}
        if first not in steps:
            path[first] = iter(begins[first])
        while path:
            name, left = next(reversed(path.items()))
            for part in left:
                if part in path:
                    raise Refused(
                        f"The grammar's rule {shown(part)} begins with itself (left recursion). "
                        "Let something else come first."
                    )
                if part not in steps:
                    path[part] = iter(begins[part])
                    break
            else:
                del path[name]
                steps[name] = 1 + sum(steps[part] for part in begins[name])
                depth[name] = 1 + max((depth[part] for part in begins[name]), default=0)
    return sum(steps.values()), max(depth.values(), default=0)


def shown(name: str) -> str:
    """The rule of the text that a group or a repetition belongs to."""
    return name.split(" ")[0]
