"""EfficientNet-Lite0 in torch, named so that the published ImageNet weights load as they are.

The network of Tan & Le (arXiv 1905.11946) without squeeze-and-excitation and with ReLU6, padded
as TensorFlow pads ("same"), which puts the odd pixel at the right and the bottom.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

_EPSILON = 1e-3  # of every batch normalisation
_STAGES = (  # repeats, kernel, stride of the first, expansion, channels out
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
DIMENSIONS = 1280


class _SameConv2d(nn.Conv2d):
    """A convolution whose output is ceil(input / stride) wide."""

    def forward(self, input: Tensor) -> Tensor:
        padding: list[int] = []
        for size, kernel, stride in zip(reversed(input.shape[-2:]), self.kernel_size, self.stride, strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(functional.pad(input, padding))


class _Block(nn.Module):
    """An inverted residual: expand, filter each channel, project."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        self.expands = expansion > 1
        self.adds_input = stride == 1 and channels == out
        if self.expands:
            self._expand_conv = nn.Conv2d(channels, hidden, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(hidden, eps=_EPSILON)
        self._depthwise_conv = _SameConv2d(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        self._bn1 = nn.BatchNorm2d(hidden, eps=_EPSILON)
        self._project_conv = nn.Conv2d(hidden, out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out, eps=_EPSILON)

    def forward(self, input: Tensor) -> Tensor:
        x = functional.relu6(self._bn0(self._expand_conv(input))) if self.expands else input
        x = functional.relu6(self._bn1(self._depthwise_conv(x)))
        out: Tensor = self._bn2(self._project_conv(x))
        return out + input if self.adds_input else out


class EfficientNetLite0(nn.Module):
    """Images `(N, 3, 224, 224)` scaled by `(x - 127) / 128` to embeddings `(N, 1280)`."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _SameConv2d(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=_EPSILON)
        blocks, channels = [], 32
        for repeats, kernel, stride, expansion, out in _STAGES:
            for i in range(repeats):
                blocks.append(_Block(channels, out, kernel, stride if i == 0 else 1, expansion))
                channels = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(channels, DIMENSIONS, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(DIMENSIONS, eps=_EPSILON)
        self._fc = nn.Linear(DIMENSIONS, 1000)

    def forward(self, images: Tensor) -> Tensor:
        """The pooled features before the ImageNet classes."""
        x = functional.relu6(self._bn0(self._conv_stem(images)))
        for block in self._blocks:
            x = block(x)
        pooled: Tensor = functional.relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3))
        return pooled

    def classify(self, images: Tensor) -> Tensor:
        """ImageNet logits `(N, 1000)`; a test recognises known photos by them."""
        logits: Tensor = self._fc(self(images))
        return logits


def load(path: str) -> EfficientNetLite0:
    """The network with the weights at `path`, ready for inference."""
    network = EfficientNetLite0()
    network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return network.eval()
