"""A single-choice image classification as Label Studio sees it: the config, an answer, a prediction.

Everything here is pure: text and plain structures in, text and plain structures out.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from store.errors import InvalidInputError

_CHOICES = "class"
_IMAGE = "image"
_HOTKEYS = "1234567890"  # classes after the tenth get Label Studio's own


@dataclass(frozen=True)
class ClassDefinition:
    """One class of a taxonomy, and what an annotator reads about it."""

    name: str
    description: str = ""


def check(classes: Sequence[ClassDefinition]) -> None:
    """Refuse classes that Label Studio would not give back exactly as they are.

    Raises:
        InvalidInputError: fewer than two classes, a name twice, or a name that cannot be used.
    """
    if len(classes) < 2:
        raise InvalidInputError(f"A taxonomy needs two classes or more, not {len(classes)}.")
    names = [each.name for each in classes]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInputError(f"The class {name!r} is there twice.")
        if not name or name != name.strip() or not name.isprintable():
            raise InvalidInputError(f"The class name {name!r} is empty, or has spaces around it, or cannot be printed.")
        if "$" in name:
            raise InvalidInputError(f"The class name {name!r} holds a $, which Label Studio reads as a variable.")


def render(classes: Sequence[ClassDefinition], guideline: str) -> str:
    """The label config that asks for exactly one of `classes` about the image in `data.image`.

    Raises:
        InvalidInputError: as `check` says.
    """
    check(classes)
    view = ElementTree.Element("View")
    if guideline.strip():
        ElementTree.SubElement(view, "Header", value=_text(guideline), size="5")
    options = {"name": _CHOICES, "toName": _IMAGE, "choice": "single", "required": "true", "showInline": "true"}
    choices = ElementTree.SubElement(view, "Choices", options)
    for position, each in enumerate(classes):
        choice = ElementTree.SubElement(choices, "Choice", value=each.name)
        if position < len(_HOTKEYS):
            choice.set("hotkey", _HOTKEYS[position])
        if each.description.strip():
            choice.set("hint", _text(each.description))
    ElementTree.SubElement(view, "Image", name=_IMAGE, value=f"${_IMAGE}")  # last: a tall one hides what follows
    return ElementTree.tostring(view, encoding="unicode")


def answer(result: Sequence[Any], classes: Sequence[str]) -> str | None:
    """The one class an annotation's `result` names; none when it names no class of ours, or several."""
    chosen = []
    for part in result:
        match part:
            case {"from_name": str(control), "value": {"choices": [*names]}} if control == _CHOICES:
                chosen += names
    return chosen[0] if len(chosen) == 1 and chosen[0] in classes else None


def result(name: str) -> list[dict[str, Any]]:
    """The `result` of an annotation or a prediction that names one class."""
    return [{"from_name": _CHOICES, "to_name": _IMAGE, "type": "choices", "value": {"choices": [name]}}]


def prediction(name: str, *, score: float | None, model_version: str) -> dict[str, Any]:
    """A pre-annotation; `score` is the probability of the class, 0–1, or none if nobody is to see it."""
    shown = {} if score is None else {"score": score}
    return {"model_version": model_version, **shown, "result": result(name)}


def instruction(guideline: str) -> str:
    """The guideline as Label Studio's instruction, which is HTML."""
    return html.escape(guideline.strip(), quote=False).replace("\n", "<br>")


def _text(text: str) -> str:
    """Prose for people, without what XML cannot hold or Label Studio would replace."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable.strip().replace("$", "＄")
