"""Names with options, in one word: ``nas_gym/NASBench201-v0:dataset=cifar100``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

LONGEST = 200  # of a file name; file systems allow 255 bytes

_WORDS = {"None": None, "True": True, "False": False}


@dataclass(frozen=True)
class Spec:
    """An agent or an environment, and the options it is made with.

    Attributes:
        name: A name of nas_gym, or ``package.module:callable``.
        options: Keyword arguments, JSON values.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Read ``name:option=value:option=value``.

        The name ends before the first part that holds a ``=``; a later part without one belongs
        to the value before it, so ``nas_gym/Custom-v0:task=folder:leaves`` is what it looks like.

        Raises:
            ValueError: There is no name, or an option twice.
        """
        parts = _split(text, ":")
        first = next((i for i, part in enumerate(parts) if "=" in part), len(parts))
        name = ":".join(parts[:first])
        if not name or name != name.strip():
            raise ValueError(f"{text!r} must begin with a name, as in reinforce:recipe=zoph2016")
        texts: dict[str, str] = {}
        last = ""
        for part in parts[first:]:
            option, equals, value = part.partition("=")
            if not equals:
                texts[last] += f":{part}"
                continue
            if not option.isidentifier() or option in texts:
                raise ValueError(f"{text!r}: options are NAME=VALUE, each once, got {part!r}")
            texts[last := option] = value
        return cls(name, {option: _value(value) for option, value in texts.items()})

    def __str__(self) -> str:
        """The one text of this spec: what `parse` reads, options by name."""
        parts = [f"{name}={_text(value)}" for name, value in sorted(self.options.items())]
        return ":".join([self.name, *parts])


def parse_list(words: Iterable[str]) -> list[Spec]:
    """Specs out of words that each hold one or several, separated by commas; no spec twice."""
    specs = [Spec.parse(text) for word in words for text in _split(word, ",") if text]
    return list({str(spec): spec for spec in specs}.values())


def file_name(spec: object) -> str:
    """A spec as a file's name; different specs, different names."""
    text = str(spec)
    name = "".join(map(_safe, text))
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 17]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _safe(character: str) -> str:
    if character.isascii() and (character.isalnum() or character in "._-="):
        return character
    escaped = "".join(f"%{byte:02X}" for byte in character.encode(errors="surrogatepass"))
    return {"/": "~", ":": "+"}.get(character, escaped)


def _split(text: str, separator: str) -> list[str]:
    """Parts of a text; separators inside brackets do not count."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if character == separator and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return _WORDS.get(text, text)


def _text(value: Any) -> str:
    if isinstance(value, str) and _value(value) == value:
        return value
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
