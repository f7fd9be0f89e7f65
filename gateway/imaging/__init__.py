"""Pixels: frames, decoding. Takes `read(offset, length)`, never a store."""
