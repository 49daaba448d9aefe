"""Frames of videos: which are taken, that they come back byte for byte, and what damage leaves."""

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image as Pillow
from sqlalchemy import select

from curation import originals, videos
from curation.decode import decode
from curation.ingest import ingest
from store.errors import InvalidInputError
from store.schema import Quarantined, Sighting
from store.workspace import Workspace

FPS = 10


def write_video(path: Path, *, scenes: int = 3, seconds: int = 2, codec: str = "libx264", **options: str) -> Path:
    """A video of random mosaics that move a little, another one every `seconds`."""
    generator = np.random.default_rng(0)
    with av.open(str(path), "w", options=options) as container:
        stream: Any = container.add_stream(codec, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 94, 62, "yuv420p"
        for _ in range(scenes):
            mosaic = np.kron(generator.integers(0, 256, (8, 12, 3)), np.ones((8, 8, 1)))[:62, :94].astype(np.uint8)
            for i in range(FPS * seconds):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(mosaic, i // 4, 1)), format="rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def frames(path: Path, **options: Any) -> list[tuple[float, bytes]]:
    settings = {"every_s": 1.0, "on_scene_change": False, "max_pixels": 10**8} | options
    with path.open("rb") as file:
        return [(round(frame.time_s, 3), frame.encode()) for frame in videos.frames(file, **settings)]


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx"), ("a.avi", "mpeg4")]
)
def test_a_frame_every_second_comes_back_byte_for_byte(tmp_path: Path, name: str, codec: str) -> None:
    path = write_video(tmp_path / name, codec=codec)
    found = frames(path)
    assert [time_s for time_s, _ in found] == [0, 1, 2, 3, 4, 5]
    for time_s, data in reversed(found):
        with path.open("rb") as file:
            assert videos.read_frame(file, time_s) == data
    with path.open("rb") as file, pytest.raises(videos.UnreadableError, match="no frame at 77"):
        videos.read_frame(file, 77.0)


def test_a_frame_is_a_plain_bmp_of_its_picture(tmp_path: Path) -> None:
    ((_, data), *_) = frames(write_video(tmp_path / "a.mp4"))
    assert data[:2] == b"BM"
    picture = Pillow.open(io.BytesIO(data)).convert("RGB")
    assert decode(data).picture.tobytes() == picture.tobytes()
    generator = np.random.default_rng(0)
    mosaic = np.kron(generator.integers(0, 256, (8, 12, 3)), np.ones((8, 8, 1)))[:62, :94]
    assert picture.size == (94, 62)
    middles = (slice(4, None, 8), slice(4, None, 8))
    assert np.abs(np.asarray(picture, dtype=float)[middles].mean(axis=2) - mosaic[middles].mean(axis=2)).mean() < 12


@pytest.mark.parametrize(
    ("options", "times"),
    [
        ({"every_s": 2.5}, [0, 2.5, 5]),
        ({"every_s": 0.5}, [i / 2 for i in range(12)]),
        ({"every_s": 0.15}, [0, 0.2, 0.3, 0.5, 0.6, 0.8, 0.9, 1.1, 1.2, 1.4]),
        ({"on_scene_change": True}, [0, 2, 4]),
    ],
)
def test_which_frames_are_taken(tmp_path: Path, options: dict[str, Any], times: list[float]) -> None:
    found = [time_s for time_s, _ in frames(write_video(tmp_path / "a.mp4"), **options)]
    assert found[: len(times)] == times
    assert len(found) == len(times) or options == {"every_s": 0.15}


def test_all_frames_of_a_video_are_one_scene(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    path = write_video(folder / "a.mp4")
    Pillow.new("RGB", (8, 8)).save(folder / "b.png")
    summary = ingest(workspace, [str(folder)], every_s=2)
    assert (summary.files, summary.new_images) == (4, 4)
    with workspace.database.read() as session:
        seen = {row.uri: row.scene for row in session.scalars(select(Sighting))}
        read = {one.uris[0]: one.read() for one in originals.find(session)}
    assert seen == {f"{path}#t={t}.000": str(path) for t in (0, 2, 4)} | {str(folder / "b.png"): None}
    assert {uri for uri, data in read.items() if data[:2] == b"BM"} == {f"{path}#t={t}.000" for t in (0, 2, 4)}
    again = ingest(workspace, [str(folder)])
    assert (again.files, again.unchanged) == (4, 4)


def test_more_frames_of_a_video_that_is_known(workspace: Workspace, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    ingest(workspace, [str(path)], every_s=4)
    summary = ingest(workspace, [str(path)], every_s=2)
    assert (summary.unchanged, summary.new_images, summary.missing) == (2, 1, 0)
    summary = ingest(workspace, [str(path)], on_scene_change=True)
    assert (summary.unchanged, summary.new_images, summary.missing) == (3, 0, 0)
    assert ingest(workspace, [str(path)], every_s=3).missing == 0


def test_a_shorter_video_in_its_place(workspace: Workspace, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    ingest(workspace, [str(path)])
    write_video(path, scenes=1)
    summary = ingest(workspace, [str(path)])
    assert summary.missing == 4
    path.unlink()
    folder = tmp_path / "photos"
    folder.mkdir()
    Pillow.new("RGB", (8, 8)).save(tmp_path / "b.png")
    assert ingest(workspace, [str(tmp_path)]).missing == 2


def test_of_a_damaged_video_what_decodes_is_taken(workspace: Workspace, tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", movflags="faststart")
    data = whole.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) * 2 // 3])
    summary = ingest(workspace, [str(cut)], every_s=0.5)
    assert summary.new_images > 0
    ((uri, reason),) = summary.quarantined
    assert uri == str(cut)
    assert reason.startswith("the video is damaged: ")
    assert reason.endswith("of 6.0 s; the other frames were taken")
    again = ingest(workspace, [str(cut)])
    assert (again.unchanged, again.quarantined) == (summary.new_images, summary.quarantined)
    cut.write_bytes(data)
    assert ingest(workspace, [str(cut)], every_s=0.5).quarantined == []
    with workspace.database.read() as session:
        assert session.scalars(select(Quarantined)).all() == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"hello", "is not a video that can be decoded"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "is not a video that can be decoded"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "is not a video that can be decoded"),
    ],
    ids=["empty", "text", "playlist", "concat"],
)
def test_what_is_no_video_is_quarantined(workspace: Workspace, tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    ((uri, why),) = ingest(workspace, [str(path)]).quarantined
    assert uri == str(path)
    assert reason in why


def test_frames_over_the_limit_are_not_decoded(workspace: Workspace, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    ((_, reason),) = ingest(workspace, [str(path)], max_megapixels=0.005).quarantined
    assert reason.startswith("its frames of 94 × 62 pixels are over the limit")


def test_options_that_make_no_sense(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"not every 0\.0"):
        ingest(workspace, [str(tmp_path)], every_s=0.0)
    with pytest.raises(InvalidInputError, match="not both"):
        ingest(workspace, [str(tmp_path)], every_s=1, on_scene_change=True)
    with pytest.raises(InvalidInputError, match="megapixels lies between"):
        ingest(workspace, [str(tmp_path)], max_megapixels=-1)
