"""``python -m qwen_vl_npu_ops.sim rewrite in.cpp out.cpp``: rewrite launches, for builds outside Python."""

import sys

from . import rewriting

if sys.argv[1:2] != ["rewrite"]:
    sys.exit("usage: python -m qwen_vl_npu_ops.sim rewrite in.cpp out.cpp")
sys.exit(rewriting.main(sys.argv[2:]))
