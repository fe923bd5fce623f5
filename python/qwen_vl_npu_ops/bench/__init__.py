"""The benchmark harness behind `qwen-vl-npu-ops bench`: timing, peaks, work, peers, pictures."""
