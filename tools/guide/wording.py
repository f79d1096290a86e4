"""Say a question in another way, as hurried people type: for training, never for measuring."""

from __future__ import annotations

import random
import re

# Each row holds words that may stand for one another in a question.
SYNONYMS = (
    ("start", "launch", "run", "begin", "boot", "fire up", "open"),
    ("install", "set up", "get running", "put on"),
    ("model", "llm", "language model", "ai", "ai model"),
    ("models", "llms", "language models"),
    ("slow", "sluggish", "laggy", "not fast"),
    ("fast", "quick", "speedy"),
    ("faster", "quicker", "speedier"),
    ("reply", "answer", "response", "output", "message"),
    ("replies", "answers", "responses"),
    ("chat", "conversation", "discussion"),
    ("chats", "conversations"),
    ("delete", "remove", "erase", "get rid of", "throw away"),
    ("change", "alter", "modify", "adjust", "set"),
    ("stop", "halt", "abort", "end", "cancel"),
    ("gpu", "graphics card", "video card", "nvidia card"),
    ("cpu", "processor"),
    ("memory", "ram"),
    ("folder", "directory"),
    ("computer", "pc", "machine", "laptop"),
    ("extension", "plugin", "add-on", "addon"),
    ("extensions", "plugins", "add-ons", "addons"),
    ("explain", "describe", "clarify"),
    ("big", "large"),
    ("bigger", "larger", "better", "smarter"),
    ("internet", "network", "web"),
    ("use", "work with", "make use of"),
    ("find", "locate", "see"),
    ("need", "require"),
    ("needed", "required", "necessary"),
    ("picture", "image", "photo"),
    ("license", "licence"),
    ("kept", "stored", "saved"),
    ("switch off", "turn off", "disable", "deactivate"),
    ("switch on", "turn on", "enable", "activate"),
    ("make", "create"),
    ("write", "type"),
    ("server", "program", "app"),
    ("error", "problem", "failure"),
    ("option", "setting", "parameter"),
    ("mean", "stand for"),
    ("page", "interface", "web page", "ui"),
    ("quantization", "quantisation", "quantizing"),
    ("token", "tokens"),
    ("show", "list", "give"),
    ("phone", "mobile", "smartphone", "tablet"),
    ("click", "press"),
    ("what is", "what's", "whats", "what are", "wat is", "what exactly is"),
    ("how do i", "how can i", "how to", "how do you", "how would i", "how does one"),
    ("can i", "could i", "may i", "am i able to", "is it possible to"),
    ("do not", "don't", "dont"),
    ("does not", "doesn't", "doesnt", "won't"),
    ("cannot", "can't", "cant", "can not"),
    ("i am", "i'm", "im"),
    ("i have", "i've", "i got"),
    ("it is", "it's", "its"),
)
PREFIXES = (
    "please ", "hi, ", "hey, ", "hello, ", "ok, ", "ok ", "so ", "and ", "but ", "well, ", "um ",
    "please tell me ", "tell me ", "can you tell me ", "could you tell me ", "i wonder ",
    "quick question: ", "question: ", "one more thing: ", "hey can you explain ", "sorry, ",
    "i would like to know ", "do you know ", "another question, ", "just ", "now ", "also ",
    "good morning, ", "for a beginner: ", "hmm, ", "excuse me, ", "also, ", "in short, ",
    "dear guide, ", "i am new to this, ", "i have a question, ", "sorry for asking, ", "wait, ",
    "a friend asked me: ", "i was wondering, ", "can you help? ", "let me ask: ", "next: ",
)  # fmt: skip
SUFFIXES = (
    " please", " pls", ", please", " thanks", ", thanks", " thx", " now", " exactly", " actually",
    " here", " then", " for me", " again", " today", " really", " at all", " anyway", " i wonder",
    " and why", " in simple words", " briefly", ", i am new to this", " tell me", " or not",
)  # fmt: skip
HERE_SUFFIXES = (" in spindle", " with spindle", " in this program", " on my computer", " in here")
ENDS = ("", "", "", "?", "?", "?", ".", "??", " ?", "!", "...")
FILLERS = frozenset((
    "the", "a", "an", "i", "is", "are", "do", "does", "to", "my", "of", "in", "it", "can", "for",
    "this", "that", "you", "me", "be",
))  # fmt: skip
NEIGHBOURS = {
    "a": "sqz", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj",
    "i": "uo", "j": "hk", "k": "jl", "l": "ko", "m": "n", "n": "bm", "o": "ip", "p": "o",
    "q": "wa", "r": "et", "s": "ad", "t": "ry", "u": "yi", "v": "cb", "w": "qe", "x": "zc",
    "y": "tu", "z": "x",
}  # fmt: skip


def _patterns() -> list[tuple[re.Pattern[str], tuple[str, ...]]]:
    return [
        (re.compile(rf"\b{re.escape(word)}\b"), tuple(w for w in row if w != word))
        for row in SYNONYMS
        for word in row
    ]


_SYNONYM_PATTERNS = tuple(_patterns())


def _swap_words(text: str, rng: random.Random) -> str:
    """Replace up to two words or turns of phrase by others of the same row."""
    found = [(p, others) for p, others in _SYNONYM_PATTERNS if p.search(text)]
    for pattern, others in rng.sample(found, min(len(found), rng.choice((1, 1, 2)))):
        text = pattern.sub(rng.choice(others), text, count=1)
    return text


def _drop_words(text: str, rng: random.Random) -> str:
    """Leave out some filler words, and seldom another one."""
    words = text.split(" ")
    kept = [w for w in words if rng.random() > (0.35 if w.lower() in FILLERS else 0.04)]
    return " ".join(kept) if kept else text


def _mistype(word: str, rng: random.Random) -> str:
    at = rng.randrange(len(word) - 1)
    match rng.randrange(4):
        case 0:
            return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        case 1:
            return word[:at] + word[at + 1 :]
        case 2:
            return word[:at] + word[at] + word[at:]
        case _:
            near = NEIGHBOURS.get(word[at].lower(), word[at])
            return word[:at] + rng.choice(near) + word[at + 1 :]


def _typos(text: str, rng: random.Random) -> str:
    """Mistype one word, seldom two; names in code, such as --port, stay as they are."""
    words = text.split(" ")
    places = [i for i, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    for place in rng.sample(places, min(len(places), rng.choice((1, 1, 1, 2)))):
        words[place] = _mistype(words[place], rng)
    return " ".join(words)


PROPER = {
    "gguf": "GGUF", "lora": "LoRA", "llm": "LLM", "llms": "LLMs", "gpu": "GPU", "cpu": "CPU",
    "ram": "RAM", "vram": "VRAM", "api": "API", "gb": "GB", "url": "URL", "yaml": "YAML",
    "pc": "PC", "mac": "Mac", "linux": "Linux", "windows": "Windows", "spindle": "Spindle",
    "python": "Python", "q4_k_m": "Q4_K_M", "q8_0": "Q8_0", "transformers": "Transformers",
    "esc": "Esc", "enter": "Enter", "toml": "TOML", "wifi": "Wi-Fi", "sqlite": "SQLite",
}  # fmt: skip
"""Names as a careful writer spells them; the questions are written in lower case."""


def _proper(text: str) -> str:
    return re.sub(r"[a-z0-9_]+", lambda word: PROPER.get(word.group(), word.group()), text)


def _case(text: str, rng: random.Random) -> str:
    if rng.random() < 0.4:
        text = _proper(text)
    chance = rng.random()
    if chance < 0.35 and text:
        return text[0].upper() + text[1:]
    if chance < 0.45:
        return re.sub(r"\bi\b", "I", text[:1].upper() + text[1:])
    if chance < 0.49:
        return text.upper()
    if chance < 0.53:
        return text.title()
    return text


def vary(question: str, rng: random.Random, *, here: bool) -> str:
    """Return the question in other words.

    Args:
        question: A question in lower case.
        rng: Where the choices come from.
        here: True if it may name Spindle, which would be odd for a question about cooking.
    """
    text = question
    if rng.random() < 0.45:
        text = _swap_words(text, rng)
    if rng.random() < 0.25:
        text = _drop_words(text, rng)
    text = text.rstrip("?!. ") or text
    if rng.random() < 0.22:
        text = rng.choice(PREFIXES) + text
    if rng.random() < 0.14:
        text += rng.choice(SUFFIXES)
    elif here and rng.random() < 0.10:
        text += rng.choice(HERE_SUFFIXES)
    if rng.random() < 0.28:
        text = _typos(text, rng)
    return _case(text + rng.choice(ENDS), rng)
