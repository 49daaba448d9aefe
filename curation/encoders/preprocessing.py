"""What is done to a picture before a network sees it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from store import parsing
from store.arrays import Vectors
from store.errors import InvalidInputError

if TYPE_CHECKING:
    from PIL.Image import Image

_LONGEST = 8  # times its shorter side; a longer strip is not resized whole: it would fill memory

Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """Resize, order the channels, scale, normalise; the same picture always gives the same input.

    Resizing averages over all pixels under the kernel, as Pillow does. The value of a pixel, 0 to 255,
    becomes `(value · scale − mean) / std`, with a mean and a std for red, green and blue.
    """

    width: int
    height: int
    fit: Literal["stretch", "crop", "pad"] = "stretch"  # to both sides; the middle; all of it on a grey ground
    shorter_side: int | None = None  # of the picture before `crop` takes the middle; by default it just fits
    interpolation: Interpolation = "bilinear"
    scale: float = 1 / 255
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    channels: Literal["rgb", "bgr"] = "rgb"

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "allow_inf_nan": False}

    def __post_init__(self) -> None:
        if not (1 <= self.width <= 4096 and 1 <= self.height <= 4096):
            raise InvalidInputError(f"An input of {self.width} × {self.height} pixels is not within 1 to 4096.")
        if self.shorter_side is not None and self.shorter_side < max(self.width, self.height):
            raise InvalidInputError(
                f"shorter_side {self.shorter_side} is less than the {self.width} × {self.height} to be cut from it."
            )
        if 0 in self.std:
            raise InvalidInputError("A std of 0 would divide by zero.")

    @property
    def detail(self) -> int:
        """Pixels of a picture's shorter side beyond which more resolution hardly changes the input.

        Half as many again as the resize aims at.
        """
        return 3 * max(self.width, self.height, self.shorter_side or 0) // 2

    def apply(self, picture: "Image") -> Vectors:
        """An RGB picture as `(3, height, width)` float32."""
        pixels = np.empty((3, self.height, self.width), dtype=np.float32)
        pixels[...] = np.asarray(self._resize(picture)).transpose(2, 0, 1)
        if self.scale != 1:
            pixels *= np.float32(self.scale)
        pixels -= np.array(self.mean, dtype=np.float32)[:, None, None]
        pixels /= np.array(self.std, dtype=np.float32)[:, None, None]
        return pixels if self.channels == "rgb" else pixels[::-1].copy()

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Preprocessing":
        """What `to_json` wrote, or a person.

        Raises:
            InvalidInputError: not JSON, an unknown field, or a value that does not fit.
        """
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(Preprocessing).validate_json(text)
        except ValidationError as error:
            raise parsing.misfit(error, kind="preprocessing") from error

    def digest(self, *parts: str) -> str:
        """The sha256 of this and of what else tells one encoder from another, such as its weights' digest."""
        return hashlib.sha256(json.dumps([self.to_json(), *parts]).encode()).hexdigest()

    def _resize(self, picture: "Image") -> "Image":
        from PIL import Image

        resample = Image.Resampling[self.interpolation.upper()]
        size = (self.width, self.height)
        if self.fit == "stretch":
            return picture.resize(size, resample)
        if self.fit == "pad":
            ratio = min(self.width / picture.width, self.height / picture.height)
            inside = picture.resize([max(1, round(side * ratio)) for side in picture.size], resample)
            ground = Image.new("RGB", size, (128, 128, 128))
            ground.paste(inside, ((self.width - inside.width) // 2, (self.height - inside.height) // 2))
            return ground
        shorter = self.shorter_side or max(size)
        longer = int(shorter * max(picture.size) / min(picture.size))  # rounded as torchvision and transformers do
        across, down = (shorter, longer) if picture.width <= picture.height else (longer, shorter)
        left, top = (across - self.width) // 2, (down - self.height) // 2
        if longer <= _LONGEST * shorter:
            resized = picture.resize((across, down), resample)
            return resized.crop((left, top, left + self.width, top + self.height))
        columns = (left * picture.width / across, (left + self.width) * picture.width / across)
        rows = (top * picture.height / down, (top + self.height) * picture.height / down)
        return picture.resize(size, resample, box=(columns[0], rows[0], columns[1], rows[1]))
