"""Pixels: frames, decoding, encoding, transcoding, rendering. Takes `read(offset, length)`, never a store."""
