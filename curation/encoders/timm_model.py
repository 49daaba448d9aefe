"""Any image model of timm as an encoder: `timm:MODEL`, such as `timm:vit_small_patch14_dinov2.lvd142m`.

The classifier is left out; what the model pools is the embedding.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from curation.encoders import devices, extras
from curation.encoders.interface import ImageEncoder
from curation.encoders.preprocessing import Preprocessing
from store.arrays import Vectors
from store.errors import InvalidInputError, NotFoundError


class TimmEncoder(ImageEncoder):
    """A model without its classifier, run by torch."""

    def __init__(self, name: str, model: Any, preprocessing: Preprocessing) -> None:
        self.name = name
        self.preprocessing = preprocessing
        self._device = devices.of_torch()
        self._model = model.eval().to(self._device)
        grey = np.zeros((1, 3, preprocessing.height, preprocessing.width), dtype=np.float32)
        self.dimensions = devices.check_output(name, self.encode(grey), 1)

    @cached_property
    def digest(self) -> str:
        """The sha256 of the weights and the preprocessing."""
        return self.preprocessing.digest(devices.weights_digest(self._model.state_dict()))

    def encode(self, inputs: Vectors) -> Vectors:
        """Inputs `(N, 3, H, W)` to embeddings `(N, dimensions)` float32."""
        return devices.run_torch(self._model, inputs, self._device)


def load(name: str) -> TimmEncoder:
    """The encoder a name `timm:MODEL` speaks of, with its pretrained weights.

    Raises:
        NotFoundError: timm has no such model, or its weights are not here and cannot be fetched.
        InvalidInputError: timm is not installed, or the model wants other preprocessing than can be said in ours.
    """
    timm = extras.need("timm", "timm")
    model_name = name.removeprefix("timm:")
    if not model_name.startswith("hf-hub:") and not timm.is_model(model_name):
        raise NotFoundError(f"timm {timm.__version__} has no model {model_name!r}. See: timm.list_models().")
    try:
        model = timm.create_model(model_name, pretrained=True, num_classes=0)
    except Exception as error:  # the hub's errors are of many kinds
        raise extras.unreachable(name, error) from error
    return TimmEncoder(name, model, read_preprocessing(timm.data.resolve_model_data_config(model), name))


def read_preprocessing(config: Mapping[str, Any], name: str) -> Preprocessing:
    """The data configuration of a timm model as ours: `input_size`, `crop_pct`, `crop_mode`, `interpolation`, …

    Raises:
        InvalidInputError: it is not for pictures of three channels, or cuts in a way that is not read here.
    """
    channels, height, width = config["input_size"]
    mode = config.get("crop_mode", "center")
    if channels != 3 or mode not in ("center", "squash"):
        raise InvalidInputError(
            f"{name} takes {channels} channels and cuts by {mode!r}; here it is 3, center or squash."
        )
    squashes = mode == "squash" and config["crop_pct"] == 1
    return Preprocessing(
        width,
        height,
        fit="stretch" if squashes else "crop",
        shorter_side=None if squashes else int(max(height, width) / config["crop_pct"]),
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
