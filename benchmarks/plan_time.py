"""Time of a plan, from grids to metadata, without its cache.

python benchmarks/plan_time.py

Prints Markdown. Other processes show in the median, not in the best time.
"""

from __future__ import annotations

import statistics
import time

from qwen_vl_npu_ops import plan
from qwen_vl_npu_ops.plan import VisionPlan

IMAGES = [(1, 36, 36), (1, 36, 46), (1, 40, 42), (1, 52, 40)]  # t, h, w in patches
BUILDS = 100


def build_ms(grids: list[tuple[int, int, int]]) -> list[float]:
    times = []
    for _ in range(BUILDS):
        plan._build.cache_clear()
        start = time.perf_counter()
        VisionPlan.build(grids, "7b")
        times.append(1e3 * (time.perf_counter() - start))
    return times


def main() -> None:
    print("| images | tokens | median, ms | best, ms |\n|---|---|---|---|")
    for count in (1, 4, 16, 64):
        grids = (IMAGES * count)[:count]
        times = build_ms(grids)
        tokens = sum(t * h * w for t, h, w in grids)
        print(f"| {count} | {tokens} | {statistics.median(times):.2f} | {min(times):.2f} |")


if __name__ == "__main__":
    main()
