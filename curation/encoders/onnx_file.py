"""Any ONNX image model as an encoder: `onnx:FILE[?preprocessing=FILE.json&output=NAME&pool=mean|first]`.

What is done to a picture first is read from `FILE.json` beside it (`model.onnx.json`), see
curation.encoders.preprocessing for the fields. An output that is one vector a picture is used as it is; a map
`(N, C, H, W)` or tokens `(N, T, C)` need `pool`: `mean` over all places, or `first` for the first token.
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from curation.encoders import devices
from curation.encoders.interface import ImageEncoder
from curation.encoders.preprocessing import Preprocessing
from store.arrays import Vectors
from store.errors import InvalidInputError, NotFoundError

_OPTIONS = {"preprocessing", "output", "pool"}
_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_PROBE = 2  # pictures sent through once, to see what comes out


class OnnxEncoder(ImageEncoder):
    """One image input, one output, run by ONNX Runtime."""

    def __init__(self, name: str, path: Path, preprocessing: Preprocessing, *, output: str | None, pool: str | None):
        self.name = name
        self.preprocessing = preprocessing
        self._path = path
        self._pool = pool
        self._session = _open(path)
        self._input = _only_input(self._session, path)
        self._output = _choose_output(self._session, path, output)
        self._dtype = _FLOATS[self._input.type]
        self._channels_last = _fit_input(self._input.shape, preprocessing, path)
        self._one_by_one = self._input.shape[0] == 1
        probe = self.encode(np.zeros((_PROBE, 3, preprocessing.height, preprocessing.width), dtype=np.float32))
        self.dimensions = devices.check_output(name, probe, _PROBE)

    @cached_property
    def digest(self) -> str:
        """The sha256 of the file, the preprocessing, and which output is pooled how."""
        weights = hashlib.sha256(self._path.read_bytes()).hexdigest()
        return self.preprocessing.digest(weights, self._output, self._pool or "")

    def encode(self, inputs: Vectors) -> Vectors:
        """Inputs `(N, 3, H, W)` to embeddings `(N, dimensions)` float32."""
        if self._channels_last:
            inputs = inputs.transpose(0, 2, 3, 1)
        batches = np.split(inputs, len(inputs)) if self._one_by_one else [inputs]
        outputs = [self._run(batch) for batch in batches]
        return np.concatenate(outputs)

    def _run(self, batch: Vectors) -> Vectors:
        feed = {self._input.name: np.ascontiguousarray(batch, dtype=self._dtype)}
        try:
            output = self._session.run([self._output], feed)[0]
        except Exception as error:  # ONNX Runtime has no error class of its own to name
            raise InvalidInputError(f"{self._path} does not run on {batch.shape}: {_first_line(error)}") from error
        return pooled(np.asarray(output, dtype=np.float32), self._pool, self._path.name)


def load(name: str) -> OnnxEncoder:
    """The encoder a resolved name `onnx:FILE…` speaks of.

    Raises:
        NotFoundError: the file, or the preprocessing beside it, is not there.
        InvalidInputError: one of them cannot be used.
    """
    location, _, query = name.removeprefix("onnx:").partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(set(options) - _OPTIONS):
        raise InvalidInputError(f"{name} has no option {unknown[0]!r}. There are: {', '.join(sorted(_OPTIONS))}.")
    if options.get("pool", "mean") not in ("mean", "first"):
        raise InvalidInputError(f"pool is mean or first, not {options['pool']!r}.")
    path = Path(location)
    if not path.is_file():
        raise NotFoundError(f"There is no ONNX file {path}.")
    beside = Path(options.get("preprocessing", f"{path}.json")).expanduser()
    beside = beside if beside.is_absolute() else path.parent / beside
    try:
        text = beside.read_text()
    except OSError as error:
        example = Preprocessing(224, 224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)).to_json()
        raise NotFoundError(
            f"{path.name} needs {beside}, which says what is done to a picture first, such as {example}."
        ) from error
    preprocessing = Preprocessing.from_json(text)
    return OnnxEncoder(name, path, preprocessing, output=options.get("output"), pool=options.get("pool"))


def pooled(output: Vectors, pool: str | None, name: str) -> Vectors:
    """One vector `(N, C)` a picture, of a map `(N, C, H, W)` or tokens `(N, T, C)` too.

    Raises:
        InvalidInputError: it is neither, or there is more than one vector a picture and `pool` is not given.
    """
    if output.ndim == 4 and output.shape[2:] == (1, 1):
        return output[:, :, 0, 0]
    if output.ndim == 2 and pool is None:
        return output
    if output.ndim == 4 and pool == "mean":
        return np.asarray(output.mean(axis=(2, 3)))
    if output.ndim == 3 and pool is not None:
        return output[:, 0] if pool == "first" else np.asarray(output.mean(axis=1))
    if pool is None and output.ndim in (3, 4):
        raise InvalidInputError(
            f"{name} gives {output.shape}, more than one vector a picture. Add ?pool=mean"
            f"{' or ?pool=first' if output.ndim == 3 else ''} to its name."
        )
    raise InvalidInputError(f"{name} gives {output.shape}, which cannot be pooled by {pool!r} to one vector a picture.")


def _open(path: Path) -> Any:
    try:
        return devices.open_onnx(path)
    except Exception as error:
        raise InvalidInputError(f"{path} is not an ONNX model that can be run: {_first_line(error)}") from error


def _only_input(session: Any, path: Path) -> Any:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(each.name for each in inputs)
        raise InvalidInputError(f"{path.name} has {len(inputs)} inputs ({names}); an encoder has one, the picture.")
    if inputs[0].type not in _FLOATS:
        raise InvalidInputError(f"{path.name} reads {inputs[0].type}; an encoder reads tensor(float).")
    return inputs[0]


def _choose_output(session: Any, path: Path, wanted: str | None) -> str:
    outputs: dict[str, Any] = {each.name: each for each in session.get_outputs()}
    described = ", ".join(f"{name} {one.shape}" for name, one in outputs.items())
    if wanted is not None:
        if wanted not in outputs:
            raise NotFoundError(f"{path.name} has no output {wanted!r}. It has: {described}.")
        return wanted
    vectors = [name for name, one in outputs.items() if len(one.shape or ()) == 2 and one.type in _FLOATS]
    candidates = vectors or list(outputs)
    if len(candidates) > 1:
        raise InvalidInputError(
            f"{path.name} has {len(candidates)} outputs that may be the embedding: {described}. "
            "Add ?output=NAME to its name."
        )
    return candidates[0]


def _fit_input(shape: Sequence[Any] | None, preprocessing: Preprocessing, path: Path) -> bool:
    """Whether the network wants channels last; named (free) axes fit any size."""
    height, width = preprocessing.height, preprocessing.width
    orders = ((False, (3, height, width)), (True, (height, width, 3)))
    if shape is not None and len(shape) == 4:
        for channels_last, wanted in orders:
            if all(not isinstance(has, int) or has == want for has, want in zip(shape[1:], wanted, strict=True)):
                return channels_last
    raise InvalidInputError(f"{path.name} reads {shape}, but the preprocessing makes (N, 3, {height}, {width}).")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
