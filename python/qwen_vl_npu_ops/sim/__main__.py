"""``python -m qwen_vl_npu_ops.sim rewrite in.cpp out.cpp``: rewrite launches, for builds outside Python."""

import sys
from collections.abc import Sequence
from pathlib import Path

from . import rewrite


def main(arguments: Sequence[str]) -> int:
    """Return the exit status."""
    if len(arguments) != 3 or arguments[0] != "rewrite":
        print("usage: python -m qwen_vl_npu_ops.sim rewrite in.cpp out.cpp", file=sys.stderr)
        return 2
    source = Path(arguments[1])
    Path(arguments[2]).write_text(rewrite(source.read_text(), str(source)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
