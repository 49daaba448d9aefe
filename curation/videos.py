"""Frames of videos as images of their own, the same bytes every time they are asked for."""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

SUFFIXES = (
    *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov"),
    *(".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".webm", ".wmv"),
)
# Only formats that hold their pictures themselves: a playlist could name any file or address.
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,mpeg,mpegts,ogg"
_SCENE_SCORE = 0.3  # of FFmpeg's filter `select`: 0 the same picture, 1 nothing alike
_SAME_MOMENT_S = 0.0005  # half of what a uri resolves


class UnreadableError(Exception):
    """This video, or the rest of it, cannot be decoded; the message is the reason."""


@dataclass(frozen=True)
class Frame:
    """One picture of a video."""

    time_s: float  # since the video's start
    picture: "VideoFrame"

    @property
    def size(self) -> int:
        """Bytes its BMP takes, but for the header."""
        return 3 * self.picture.width * self.picture.height

    def encode(self) -> bytes:
        """A BMP of it, upright: plain enough that no other version of a library writes other bytes."""
        import numpy as np
        from av.video.reformatter import Interpolation

        exact = Interpolation.BICUBIC | Interpolation.BITEXACT | Interpolation.ACCURATE_RND
        pixels = self.picture.reformat(format="bgr24", interpolation=exact, threads=1).to_ndarray()
        upright: np.ndarray[Any, Any] = np.rot90(pixels, round(self.picture.rotation / 90) % 4)
        height, width, _ = upright.shape
        rows = np.zeros((height, (3 * width + 3) // 4 * 4), dtype=np.uint8)
        rows[:, : 3 * width] = upright[::-1].reshape(height, -1)
        header = struct.pack("<2sIII", b"BM", 54 + rows.size, 0, 54)
        return (
            header + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, rows.size, 2835, 2835, 0, 0) + bytes(rows)
        )


def frames(file: BinaryIO, *, every_s: float, on_scene_change: bool, max_pixels: int) -> Iterator[Frame]:
    """The first frame of every `every_s` seconds, or of every scene, in order.

    Raises:
        UnreadableError: it is no video, or damaged; at the end, when everything that can be decoded was.
    """
    import av

    if not file.seek(0, os.SEEK_END):
        raise UnreadableError("the file is empty")
    file.seek(0)
    try:
        with av.open(file, mode="r", options={"format_whitelist": _FORMATS}) as container:
            stream = _stream(container)
            if stream.width * stream.height > max_pixels:
                raise UnreadableError(
                    f"its frames of {stream.width} × {stream.height} pixels are over the limit of "
                    f"{max_pixels // 1_000_000} megapixels"
                )
            progress = _Progress()
            decoded = _decoded(container, stream, progress)
            yield from _scene_starts(decoded, stream) if on_scene_change else _every(decoded, every_s)
            progress.check(float(container.duration or 0) / av.time_base)
    except av.error.FFmpegError as error:
        raise UnreadableError(f"the file is not a video that can be decoded: {error.strerror}") from error


def read_frame(file: BinaryIO, time_s: float) -> bytes:
    """The BMP of the frame at `time_s`, as `Frame.encode` wrote it.

    Raises:
        UnreadableError: there is none, or it cannot be decoded any longer.
    """
    import av

    try:
        with av.open(file, mode="r", options={"format_whitelist": _FORMATS}) as container:
            stream = _stream(container)
            for jump in (True, False):  # seeking fails in some broken files
                if stream.time_base is None:
                    continue
                offset = int(time_s / stream.time_base) + (stream.start_time or 0) if jump else stream.start_time or 0
                container.seek(offset, stream=stream)
                for frame in _decoded(container, stream, _Progress()):
                    if abs(frame.time_s - time_s) < _SAME_MOMENT_S:
                        return frame.encode()
                    if frame.time_s > time_s:
                        break
    except av.error.FFmpegError as error:
        raise UnreadableError(f"the file is not a video that can be decoded: {error.strerror}") from error
    raise UnreadableError(f"the video has no frame at {time_s:.3f} s any longer")


class _Progress:
    """How far decoding came, and what it had to leave out."""

    def __init__(self) -> None:
        self.until_s = 0.0
        self.frames = 0
        self.damaged = 0

    def check(self, duration_s: float) -> None:
        """Raises UnreadableError when something is missing."""
        if not self.frames:
            raise UnreadableError("no frame of the video can be decoded")
        parts = [f"{self.damaged} parts cannot be decoded"] if self.damaged else []
        if self.until_s + max(1.0, 0.05 * duration_s) < duration_s:
            parts.append(f"it ends at {self.until_s:.1f} of {duration_s:.1f} s")
        if parts:
            raise UnreadableError(f"the video is damaged: {' and '.join(parts)}; the other frames were taken")


def _stream(container: "InputContainer") -> "VideoStream":
    if not container.streams.video:
        raise UnreadableError("the file holds no pictures")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    return stream


def _decoded(container: "InputContainer", stream: "VideoStream", progress: _Progress) -> Iterator[Frame]:
    """Every frame that can be decoded, whatever is broken between them."""
    import av

    start_s = float((stream.start_time or 0) * (stream.time_base or 0))
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            pictures = packet.decode()
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            progress.damaged += 1
            if progress.damaged > 10_000:  # a file that only fails
                return
            continue
        for picture in pictures:
            if picture.time is None:  # a frame nobody can name again
                continue
            progress.frames += 1
            progress.until_s = float(picture.time) - start_s
            yield Frame(float(picture.time) - start_s, picture)


def _every(decoded: Iterator[Frame], every_s: float) -> Iterator[Frame]:
    due_s = float("-inf")
    for frame in decoded:
        if frame.time_s >= due_s - _SAME_MOMENT_S:
            due_s = (int((frame.time_s + _SAME_MOMENT_S) / every_s) + 1) * every_s
            yield frame


def _scene_starts(decoded: Iterator[Frame], stream: "VideoStream") -> Iterator[Frame]:
    """Frames that look unlike the one before them, by FFmpeg's own score."""
    import av

    graph = av.filter.Graph()
    source = graph.add_buffer(template=stream)
    select = graph.add("select", f"eq(n,0)+gt(scene,{_SCENE_SCORE})")
    sink = graph.add("buffersink")
    source.link_to(select)
    select.link_to(sink)
    graph.configure()
    for frame in decoded:
        graph.push(frame.picture)
        try:
            graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            continue
        yield frame
