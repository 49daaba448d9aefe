"""Models in the Hugging Face layout: `hf:ID_OR_FOLDER`.

DINOv2, DINOv3, ViT and their like give the pooled (class) token; CLIP, SigLIP and SigLIP 2 have a tower for
pictures and one for texts. Weights come from the folder, from the local cache, or from the hub if it is reachable.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from curation.encoders import devices, extras
from curation.encoders.interface import ImageEncoder
from curation.encoders.preprocessing import Interpolation, Preprocessing
from store.arrays import Vectors
from store.errors import InvalidInputError, NotFoundError

_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model"]  # no pickles
_INTERPOLATIONS: tuple[Interpolation, ...] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
_TOWERS = ("get_image_features", "get_text_features")


class HuggingFaceEncoder(ImageEncoder):
    """A vision model, or the two towers of a picture-text model, run by torch."""

    def __init__(self, name: str, folder: Path, model: Any, preprocessing: Preprocessing) -> None:
        self.name = name
        self.preprocessing = preprocessing
        self._folder = folder
        self._device = devices.of_torch()
        self._model = model.eval().to(self._device)
        self._two_towers = all(hasattr(model, tower) for tower in _TOWERS)
        grey = np.zeros((1, 3, preprocessing.height, preprocessing.width), dtype=np.float32)
        try:
            self.dimensions = devices.check_output(name, self.encode(grey), 1)
        except (RuntimeError, ValueError, TypeError) as error:
            raise InvalidInputError(f"{name} does not run on {grey.shape}: {error}") from error

    @cached_property
    def digest(self) -> str:
        """The sha256 of the weights, the preprocessing, and the kind of model."""
        return self.preprocessing.digest(devices.weights_digest(self._model.state_dict()), type(self._model).__name__)

    def encode(self, inputs: Vectors) -> Vectors:
        """Inputs `(N, 3, H, W)` to embeddings `(N, dimensions)` float32."""
        see = self._model.get_image_features if self._two_towers else self._model
        return devices.run_torch(lambda pixels: _vector(see(pixel_values=pixels)), inputs, self._device)

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """Texts to embeddings `(N, dimensions)` float32, cut where the model stops reading.

        Raises:
            InvalidInputError: this model sees pictures only.
        """
        if not self._two_towers:
            return super().encode_text(texts)
        import torch

        longest = self._model.config.text_config.max_position_embeddings
        tokens = self._tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=longest, return_tensors="pt"
        )
        with torch.inference_mode():
            output = _vector(self._model.get_text_features(**tokens.to(self._device)))
            vectors: Vectors = output.float().cpu().numpy()
        return vectors

    @cached_property
    def _tokenizer(self) -> Any:
        try:
            return extras.need("transformers", "hf").AutoTokenizer.from_pretrained(self._folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise NotFoundError(f"{self.name} has no tokenizer beside its weights; it cannot read text.") from error


def load(name: str) -> HuggingFaceEncoder:
    """The encoder a resolved name `hf:…` speaks of.

    Raises:
        NotFoundError: its weights are not here and cannot be fetched.
        InvalidInputError: `transformers` is not installed, or the model is of a kind that is not read here.
    """
    transformers = extras.need("transformers", "hf")
    location = name.removeprefix("hf:")
    folder = Path(location) if Path(location).is_dir() else _fetch(name, location)
    try:
        config = json.loads((folder / "preprocessor_config.json").read_text())
    except (OSError, ValueError) as error:
        raise NotFoundError(
            f"{folder} has no readable preprocessor_config.json, which says what is done to a picture first."
        ) from error
    preprocessing = read_preprocessing(config, name)
    try:
        model = transformers.AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype="float32"
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InvalidInputError(f"{folder} does not hold a model that transformers loads: {reason}") from error
    return HuggingFaceEncoder(name, folder, model, preprocessing)


def read_preprocessing(config: Mapping[str, Any], name: str) -> Preprocessing:
    """A `preprocessor_config.json` as ours.

    Raises:
        InvalidInputError: it asks for something that cannot be said in ours, such as inputs of varying size.
    """
    size = _sides(config.get("size", {}))
    if config.get("do_resize", True) is False or not size or config.get("max_num_patches"):
        raise InvalidInputError(f"{name} takes pictures of varying size; only inputs of one size are read here.")
    crop = _sides(config.get("crop_size") or {}) if config.get("do_center_crop") else {}
    target = crop or size
    height = target.get("height", target.get("shortest_edge", 0))
    width = target.get("width", target.get("shortest_edge", 0))
    stretched = "height" in size and not crop
    if "height" in size and crop and (size["height"], size["width"]) != (height, width):
        raise InvalidInputError(f"{name} stretches a picture and then cuts from it, which is not read here.")
    normalises = config.get("do_normalize", True)
    return Preprocessing(
        width,
        height,
        fit="stretch" if stretched or "height" in size else "crop",
        shorter_side=None if "height" in size else size["shortest_edge"],
        interpolation=_INTERPOLATIONS[config.get("resample", 2)],  # Pillow's numbers
        scale=config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0,
        mean=_triple(config["image_mean"]) if normalises else (0.0, 0.0, 0.0),
        std=_triple(config["image_std"]) if normalises else (1.0, 1.0, 1.0),
    )


def _vector(output: Any) -> Any:
    """The pooled output of a model, the first token where it has no pooling; older versions give it bare."""
    pooled = getattr(output, "pooler_output", None)
    if pooled is not None:
        return pooled
    tokens = getattr(output, "last_hidden_state", None)
    return output if tokens is None else tokens[:, 0]


def _sides(size: Any) -> dict[str, int]:
    return {"height": size, "width": size} if isinstance(size, int) else {key: int(size[key]) for key in size}


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return (red, green, blue)


def _fetch(name: str, location: str) -> Path:
    """The folder of a model in the local cache, fetched first where the hub is reachable."""
    hub = extras.need("huggingface_hub", "hf")
    try:
        return Path(hub.snapshot_download(location, allow_patterns=_WANTED, local_files_only=True))
    except Exception:  # not in the cache: try the hub below, whose error is the one to tell
        try:
            return Path(hub.snapshot_download(location, allow_patterns=_WANTED, etag_timeout=5))
        except Exception as error:
            raise extras.unreachable(name, error) from error
