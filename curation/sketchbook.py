"""The sketches of a collection's pictures, made when asked for and kept while they are likely to be asked for again."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from curation import alignment
from curation.alignment import Sketch
from curation.decode import decode
from curation.originals import Original
from store.errors import WinnowError

_DETAIL = 2 * alignment.SIDE  # pixels of the shorter side from which a scaled decode is as good
_KEPT = 8192  # sketches, about 50 kB each with their features


class Sketchbook:
    """Sketches by position in a collection; memory stays bounded whatever its size."""

    def __init__(self, found: Sequence[Original]) -> None:
        self._found = found
        self._sketches: OrderedDict[int, Sketch] = OrderedDict()
        self.unreadable: dict[int, str] = {}  # a sentence by position

    def __len__(self) -> int:
        return len(self._found)

    def open(self, positions: Iterable[int]) -> dict[int, Sketch]:
        """The sketches of those that can be read; the others are noted as unreadable."""
        wanted = sorted({*positions} - self.unreadable.keys())
        missing = [position for position in wanted if position not in self._sketches]
        for position, result in zip(missing, self._read_all(missing), strict=True):
            if isinstance(result, str):
                self.unreadable[position] = result
            else:
                self._sketches[position] = result
        there = {position: self._sketches[position] for position in wanted if position in self._sketches}
        for position in there:
            self._sketches.move_to_end(position)
        while len(self._sketches) > max(_KEPT, len(there)):
            self._sketches.popitem(last=False)
        return there

    def _read_all(self, positions: Sequence[int]) -> list[Sketch | str]:
        if len(positions) <= 1:  # not worth a pool
            return [self._read(position) for position in positions]
        with ThreadPoolExecutor() as pool:
            return list(pool.map(self._read, positions))

    def _read(self, position: int) -> Sketch | str:
        try:
            found = self._found[position]
            return alignment.sketch(decode(found.read(), max_pixels=found.max_pixels, detail=_DETAIL).picture)
        except WinnowError as error:
            return str(error)
