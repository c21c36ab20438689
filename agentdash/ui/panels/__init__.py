"""Panels draw what they are handed: they know `model` and `format`, never the engine."""
