"""The batches that benchmarks run: grids of patches by name, by number of tokens, or of real images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from torch import Tensor

from ..plan import Grid

#: Batches with a name, beside any number of tokens: four images of mixed sizes, a video of four steps, a 1080p image.
NAMED: dict[str, tuple[Grid, ...]] = {
    "mixed": ((1, 16, 16), (1, 20, 30), (1, 22, 28), (1, 18, 30)),
    "video": ((4, 20, 30),),
    "1080p": ((1, 78, 138),),
}
MERGE = 2  # patches of a merge unit's side, in every published tower


@dataclasses.dataclass(frozen=True)
class Batch:
    """Images and videos that are encoded at once."""

    name: str
    grids: tuple[Grid, ...]  # t, h, w in patches
    pixels: Tensor | None = dataclasses.field(default=None, compare=False, repr=False)  # of real ones

    @property
    def tokens(self) -> int:
        """Patches of all."""
        return sum(t * h * w for t, h, w in self.grids)


def parse(text: str) -> list[Batch]:
    """Batches out of `--tokens`, as in "256,1296,mixed". Raises ValueError for what is neither a number nor a name."""
    return [_batch(part.strip()) for part in text.split(",")]


def _batch(name: str) -> Batch:
    if name in NAMED:
        return Batch(name, NAMED[name])
    if not name.isdecimal():
        raise ValueError(f"tokens: expected numbers or {', '.join(NAMED)}, with commas between them, got {name!r}")
    return Batch(name, (square(int(name)),))


def square(tokens: int) -> Grid:
    """The image of so many patches that is nearest to a square, wider than high; whole merge units."""
    units, rest = divmod(tokens, MERGE**2)
    if rest or not units:
        raise ValueError(f"tokens: expected a multiple of {MERGE**2}, got {tokens}")
    height = next(side for side in range(math.isqrt(units), 0, -1) if units % side == 0)
    return 1, MERGE * height, MERGE * (units // height)


def of_grids(grids: Sequence[Grid], pixels: Tensor | None = None) -> Batch:
    """One batch of real images and videos."""
    return Batch(f"{len(grids)} input{'s' if len(grids) > 1 else ''}", tuple(grids), pixels)
