"""What the rest of Winnow needs to know of an encoder."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from curation.encoders.preprocessing import Preprocessing
from store.arrays import Vectors
from store.errors import InvalidInputError

if TYPE_CHECKING:
    from PIL.Image import Image


class ImageEncoder(Protocol):
    """Pictures to vectors, and texts to vectors of the same space where there is a second tower."""

    name: str
    dimensions: int
    preprocessing: Preprocessing

    @property
    def digest(self) -> str:
        """The sha256 of weights and preprocessing: vectors of two digests are never mixed."""

    def prepare(self, picture: "Image") -> Vectors:
        """An RGB picture as the network's input `(3, H, W)` float32."""
        return self.preprocessing.apply(picture)

    def encode(self, inputs: Vectors) -> Vectors:
        """Inputs `(N, 3, H, W)` to embeddings `(N, dimensions)` float32."""

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """Texts to embeddings `(N, dimensions)` float32 near those of the pictures they describe.

        Raises:
            InvalidInputError: this encoder sees pictures only.
        """
        raise InvalidInputError(
            f"{self.name} sees pictures only. To search by text, embed with a two-tower encoder (hf: or open_clip:)."
        )
