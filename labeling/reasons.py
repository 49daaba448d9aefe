"""Why an adjudicator decided as they did: a code of a small vocabulary, asked for beside the class."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from labeling.definitions import AttributeDefinition, Definition
from store.errors import InvalidInputError

MEANINGS: Mapping[str, str] = {
    "annotator-mistake": "the image is clear, somebody erred",
    "agreed-with-majority": "what most said is right",
    "guideline-unclear": "the guideline does not say which class is meant",
    "ambiguous-image": "the image shows several classes, or none clearly",
    "bad-image": "the image is too poor to tell",
    "taxonomy-gap": "no class fits what the image shows",
}
"""The codes, and what each says."""

UNDECIDABLE = ("ambiguous-image", "bad-image", "taxonomy-gap")
"""The codes for which an item may stay without a class."""

_NAME = "reason"
_QUESTION = f"Why? If no class can be given, choose {', '.join(UNDECIDABLE[:-1])} or {UNDECIDABLE[-1]}, and skip."


def check(reason: str) -> None:
    """Refuse what is no code.

    Raises:
        InvalidInputError: it is none.
    """
    if reason not in MEANINGS:
        raise InvalidInputError(f"{reason!r} is no reason; the reasons are {', '.join(MEANINGS)}.")


def asked_for(definition: Definition) -> Definition:
    """What is asked of an adjudicator: all that `definition` asks, and the reason, which may be left out."""
    question = AttributeDefinition(
        name=_name(definition), kind="choice", about="image", options=tuple(MEANINGS), question=_QUESTION
    )
    return replace(definition, attributes=(*definition.attributes, question))


def given(result: Sequence[Any], definition: Definition) -> str | None:
    """The reason in an answer to `asked_for(definition)`; none where there is none, or several."""
    chosen: list[str] = []
    for part in result:
        match part:
            case {"from_name": str(control), "value": {"choices": [*codes]}} if control == _name(definition):
                chosen += codes
    return chosen[0] if len(chosen) == 1 and chosen[0] in MEANINGS else None


def _name(definition: Definition) -> str:
    """`reason`, or the like where the definition calls something else that."""
    tags = definition.tags
    taken = {tags.image, tags.classes, *(name for _, name in tags.shapes), *(one.name for one in definition.attributes)}
    name = _NAME
    while name in taken:
        name = f"{name} of the decision" if name == _NAME else f"{name}."
    return name
