"""The two towers of an open_clip model: `open_clip:MODEL/PRETRAINED`, such as `open_clip:ViT-B-32/laion2b_s34b_b79k`.

`open_clip:hf-hub:ORGANISATION/MODEL` names one on the hub, with its configuration.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from curation.encoders import devices, extras
from curation.encoders.interface import ImageEncoder
from curation.encoders.preprocessing import Preprocessing
from store.arrays import Vectors
from store.errors import InvalidInputError, NotFoundError


class OpenClipEncoder(ImageEncoder):
    """Pictures and texts in one space, run by torch."""

    def __init__(self, name: str, model: Any, tokenize: Any, preprocessing: Preprocessing) -> None:
        self.name = name
        self.preprocessing = preprocessing
        self._tokenize = tokenize
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
        return devices.run_torch(self._model.encode_image, inputs, self._device)

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """Texts to embeddings `(N, dimensions)` float32, cut where the model stops reading."""
        tokens = self._tokenize(list(texts)).numpy()
        return devices.run_torch(self._model.encode_text, tokens, self._device)


def load(name: str) -> OpenClipEncoder:
    """The encoder a name `open_clip:MODEL/PRETRAINED` speaks of.

    Raises:
        NotFoundError: there is no such model, or its weights are not here and cannot be fetched.
        InvalidInputError: open_clip is not installed, or the name is not of that form.
    """
    open_clip = extras.need("open_clip", "open-clip")
    model_name, pretrained = split_name(name)
    if pretrained is not None and (model_name, pretrained) not in open_clip.list_pretrained():
        known = sorted(tag for model, tag in open_clip.list_pretrained() if model == model_name)
        there = f"{model_name} comes as: {', '.join(known)}" if known else "See: open_clip.list_pretrained()"
        raise NotFoundError(f"open_clip has no weights {pretrained!r} for {model_name!r}. {there}.")
    try:
        model, _, _ = open_clip.create_model_and_transforms(model_name, pretrained=pretrained)
        tokenize = open_clip.get_tokenizer(model_name)
    except Exception as error:  # the hub's errors are of many kinds
        raise extras.unreachable(name, error) from error
    return OpenClipEncoder(name, model, tokenize, read_preprocessing(open_clip.get_model_preprocess_cfg(model), name))


def split_name(name: str) -> tuple[str, str | None]:
    """The model and the tag of its weights; models on the hub bring theirs.

    Raises:
        InvalidInputError: the tag is missing.
    """
    rest = name.removeprefix("open_clip:")
    if rest.startswith("hf-hub:"):
        return rest, None
    model_name, _, pretrained = rest.partition("/")
    if not model_name or not pretrained:
        raise InvalidInputError(f"{name} does not say which weights: open_clip:MODEL/PRETRAINED.")
    return model_name, pretrained


def read_preprocessing(config: Mapping[str, Any], name: str) -> Preprocessing:
    """The preprocessing of an open_clip model as ours: `size`, `resize_mode`, `interpolation`, `mean`, `std`.

    Raises:
        InvalidInputError: it fits pictures in a way that is not read here.
    """
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    mode = config.get("resize_mode", "shortest")
    if mode not in ("shortest", "squash"):
        raise InvalidInputError(f"{name} fits pictures by {mode!r}; here it is shortest or squash.")
    return Preprocessing(
        width,
        height,
        fit="stretch" if mode == "squash" else "crop",
        interpolation=config.get("interpolation", "bicubic"),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
