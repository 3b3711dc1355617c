"""Anthropic's own dialect, under `/v1`."""
