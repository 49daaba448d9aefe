"""A recipe says completely how to choose a batch; the same catalog and recipe give the same batch."""

import difflib
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from store import parsing
from store.errors import InvalidInputError


class _Strategy(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    arm: ClassVar[Literal["uncertain", "diverse"]] = "diverse"  # of what it chooses


class Auto(_Strategy):
    """Coverage while there are next to no labels, after that what makes the model surest."""

    name: Literal["auto"] = "auto"


class Random(_Strategy):
    """All at random, from every split."""

    name: Literal["random"] = "random"


class TypiClust(_Strategy):
    """A typical image of each cluster, those without a label first (Hacohen et al. 2022, arXiv 2202.02794)."""

    name: Literal["typiclust"] = "typiclust"


class KCenter(_Strategy):
    """Always what is farthest from everything labelled or chosen (Sener & Savarese 2018, arXiv 1708.00489)."""

    name: Literal["k-center"] = "k-center"


class FacilityLocation(_Strategy):
    """What is most similar to everything that is not yet represented, greedily."""

    name: Literal["facility-location"] = "facility-location"


class MaxHerding(_Strategy):
    """Coverage by soft balls (Bae et al. 2024, arXiv 2412.20644)."""

    name: Literal["max-herding"] = "max-herding"
    radius: float = Field(default=1.0, gt=0, le=2, description="Distance between unit vectors that a label reaches.")


class Uncertainty(_Strategy):
    """The most uncertain, however alike they are (Lewis & Gale 1994)."""

    arm = "uncertain"
    name: Literal["uncertainty"] = "uncertainty"


class UHerding(_Strategy):
    """Coverage by soft balls of what the model is unsure of (Bae et al. 2024, arXiv 2412.20644)."""

    arm = "uncertain"
    name: Literal["uherding"] = "uherding"
    radius: float | None = Field(default=None, gt=0, le=2, description="By default shorter, the more is labelled.")


class WeightedKMeans(_Strategy):
    """One image of each region, regions smaller where the model is unsure (after Ash et al. 2020, arXiv 1906.03671)."""

    arm = "uncertain"
    name: Literal["weighted-k-means"] = "weighted-k-means"
    power: float = Field(default=2.0, gt=0, description="Of the uncertainty that weighs an image.")


class ClusterMargin(_Strategy):
    """The most uncertain image of each cluster of the most uncertain ones (Citovsky et al. 2021, arXiv 2107.14263)."""

    arm = "uncertain"
    name: Literal["cluster-margin"] = "cluster-margin"
    factor: int = Field(default=10, ge=1, description="How many uncertain images are clustered for each pick.")


class DropQuery(_Strategy):
    """One of each region of what changes class between passes of a model (Gupte et al. 2024, arXiv 2401.14555)."""

    arm = "uncertain"
    name: Literal["dropquery"] = "dropquery"


class Variance(_Strategy):
    """What makes the model surest of all it is unsure of: V-optimal design by Fisher information."""

    arm = "uncertain"
    name: Literal["variance"] = "variance"


Strategy = Annotated[
    Auto
    | Random
    | TypiClust
    | KCenter
    | FacilityLocation
    | MaxHerding
    | Uncertainty
    | UHerding
    | WeightedKMeans
    | ClusterMargin
    | DropQuery
    | Variance,
    Field(discriminator="name"),
]


Score = Literal["margin", "entropy", "least-confidence", "bald", "votes", "kl", "energy", "novelty", "outlierness"]


class BoxScore(BaseModel):
    """How the doubts about boxes become one of an image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    aggregate: Literal["sum", "mean", "max", "top", "count"] = Field(
        default="max", description="Over its boxes; `count`: how much passes differ in their number."
    )
    top: int = Field(default=5, ge=1, description="How many of the most doubtful boxes `top` takes the mean of.")
    class_weights: dict[str, float] = Field(default_factory=dict, description="What a class's doubts count; 1 if not.")

    @field_validator("class_weights")
    @classmethod
    def _not_negative(cls, value: dict[str, float]) -> dict[str, float]:
        if not all(0 <= weight < float("inf") for weight in value.values()):
            raise ValueError("weights are numbers from 0 up")
        return value


class Price(BaseModel):
    """What some images cost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    where: str = Field(description="Which images, such as: megapixels > 20.")
    price: float = Field(gt=0, allow_inf_nan=False)


class Cost(BaseModel):
    """What an image costs until it is labelled: all the answers it gets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    price: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="Of an image.")
    vendor: str | None = Field(default=None, description="Whose price of an answer counts where none is given.")
    task: str = Field(default="classification", description="The kind of task that the vendor is paid for.")
    answers: int = Field(default=2, ge=1, description="How many answers of the vendor an image gets.")
    exceptions: tuple[Price, ...] = Field(default=(), description="The first that holds for an image counts.")

    @model_validator(mode="after")
    def _one_of(self) -> "Cost":
        if (self.price is None) == (self.vendor is None):
            raise ValueError("say either the price of an image or the vendor who is paid for it")
        return self


class Quota(BaseModel):
    """How many of the picks for training may be of some kind; shares are of these picks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    where: str | None = Field(default=None, description="Which images count, as in winnow images list --where.")
    predicted: str | None = Field(default=None, description="Or those that the model takes for this class.")
    slice: str | None = Field(default=None, description="Or those in the failure cluster of this name.")
    each: str | None = Field(
        default=None, description="Or a quota of its own for each value of this field: source, scene or a column."
    )
    least: int = Field(default=0, ge=0)
    most: int | None = Field(default=None, ge=0)
    least_share: float = Field(default=0.0, ge=0, le=1)
    most_share: float = Field(default=1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _one_kind(self) -> "Quota":
        if sum(kind is not None for kind in (self.where, self.predicted, self.slice, self.each)) != 1:
            raise ValueError("say which images count by one of where, predicted, slice and each")
        return self


class Recipe(BaseModel):
    """How to choose a batch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget: int | None = Field(default=None, gt=0, description="Images to choose; without, as many as `money` buys.")
    money: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="What they may cost at most.")
    cost: Cost | None = Field(default=None, description="What an image costs: a number, or how it is made up.")
    strategy: Strategy = Field(default=Auto(), description="A name, or a mapping of `name` and settings.")
    score: Score = Field(
        default="margin",
        description="What is uncertain, by class probabilities; bald, votes and kl compare several passes, and energy "
        "needs logits; novelty (unlike all that is labelled) and outlierness need no model.",
    )
    boxes: BoxScore = Field(default=BoxScore(), description="How uncertain boxes are.")
    random_share: float = Field(
        default=0.1, gt=0, le=1, description="Share of the budget drawn at random from the val and test reserve."
    )
    gold_share: float = Field(
        default=0.0, ge=0, lt=1, description="Share drawn at random from what is labelled, to see how people answer."
    )
    slice_share: float = Field(
        default=0.25, ge=0, le=1, description="Share of the budget for the newest failure clusters, if there are any."
    )
    where: str | None = Field(default=None, description="Only images for which this holds may be picked.")
    exclude: str | None = Field(default=None, description="Images for which this holds may not.")
    quotas: tuple[Quota, ...] = Field(default=(), description="Bounds on the picks for training.")
    min_distance: float = Field(
        default=0.0, ge=0, le=2, description="Cosine distance that picks for training keep from each other."
    )
    model: str = Field(default="probe", description="Whose newest predictions say what is uncertain.")
    stop_below: float = Field(
        default=0.005, ge=0, le=1, description="Gain in accuracy below which further labels are advised against."
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="Of everything drawn at random.")

    @field_validator("strategy", mode="before", json_schema_input_type=Strategy | str)
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("cost", mode="before", json_schema_input_type=Cost | float | None)
    @classmethod
    def _by_price(cls, value: Any) -> Any:
        return {"price": value} if type(value) in (int, float) else value

    @model_validator(mode="after")
    def _is_bounded(self) -> "Recipe":
        if self.budget is None and self.money is None:
            raise ValueError("say how many images: a budget, or the money they may cost")
        if self.money is not None and self.cost is None:
            raise ValueError("a sum of money buys nothing that can be counted without the cost of an image")
        if self.random_share + self.gold_share > 1:
            raise ValueError("the shares at random and of gold are more than everything")
        return self


def parse(values: dict[str, Any]) -> Recipe:
    """A recipe from plain values.

    Raises:
        InvalidInputError: a value is missing, unknown or out of range.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        complaints = "; ".join(_complaint(each) for each in error.errors())
        raise InvalidInputError(f"The recipe cannot be used: {complaints}.") from error


_WANTED = {  # by the types of complaints, to end a sentence with
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "literal_error": "one of {expected}",
    "string_type": "a text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "model_type": "a mapping of names to values",
    "model_attributes_type": "a name, or a mapping of name and settings",
}


def _complaint(error: ErrorDetails) -> str:
    """What is wrong and what to do, to go on after a colon."""
    *place, key = error["loc"] or ("a recipe",)
    name = _owner(error["loc"]) if isinstance(key, int) else f"{key} of {_owner(place)}" if place else key
    given = "nothing" if error["input"] is None else reprlib.repr(error["input"])
    context, kind = error.get("ctx", {}), error["type"]
    if kind in _WANTED:
        return f"{name} has to be {_WANTED[kind].format(**context)}, not {given}"
    if kind == "missing":
        return f"{name} has to be given"
    if kind == "extra_forbidden":
        return f"{_owner(place)} has no setting {key!r}{_instead(str(key), _settings(place))}"
    if kind == "union_tag_invalid":
        return f"there is no {key} {context['tag']!r}, only {', '.join(_kinds())}"
    if kind == "union_tag_not_found":
        return f"{name} has to have a name, one of {', '.join(_kinds())}"
    message = str(context["error"]) if kind == "value_error" else f"{error['msg'][:1].lower()}{error['msg'][1:]}"
    return f"{_owner(error['loc'])}: {message}" if error["loc"] else message


def _owner(place: Sequence[int | str]) -> str:
    """Whose setting is complained of, for example of ("quotas", 0)."""
    match place:
        case []:
            return "a recipe"
        case ["strategy", name]:
            return str(name)
        case [*_, name, int(index)]:
            return f"number {index + 1} of {name}"
        case _:
            return ".".join(map(str, place))


def _settings(place: Sequence[int | str]) -> list[str]:
    """What can be set there."""
    match place:
        case ["strategy", name]:
            return [setting for setting in _kinds()[str(name)].model_fields if setting != "name"]
        case _:
            names = tuple(name for name in place if isinstance(name, str))
            return list(_MODELS[names].model_fields) if names in _MODELS else []


_MODELS: dict[tuple[str, ...], type[BaseModel]] = {  # by where they stand in a recipe
    (): Recipe,
    ("quotas",): Quota,
    ("cost",): Cost,
    ("cost", "exceptions"): Price,
    ("boxes",): BoxScore,
}


def _kinds() -> dict[str, type[BaseModel]]:
    """Every strategy by its name."""
    return {kind.model_fields["name"].default: kind for kind in get_args(get_args(Strategy)[0])}


def _instead(unknown: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(unknown, known, n=1)
    if near:
        return f", perhaps {near[0]} is meant"
    return f", only {', '.join(known)}" if known else ""


def read(path: Path) -> dict[str, Any]:
    """The plain values in a YAML file; `parse` checks them.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it is not a YAML mapping.
    """
    return parsing.read_yaml(path, kind="recipe")
