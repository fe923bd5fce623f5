"""Drop-in use where people serve: vLLM and vLLM-Ascend, transformers. None of them is imported before its use."""
