"""`python -m qwen_vl_npu_ops` is the command line."""

from .cli import app

app(prog_name="qwen-vl-npu-ops")
