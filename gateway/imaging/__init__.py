"""Pixels: frames, decoding, encoding, transcoding. Works on `read(offset, length)`, never on a store."""
