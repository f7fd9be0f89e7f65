"""The way out: search, reading in bounded memory, and the frames and renderings of stored instances."""
