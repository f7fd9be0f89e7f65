"""PS3.8, the upper layer. No I/O, no clock: bytes and `now` in; events, bytes and a deadline out."""
