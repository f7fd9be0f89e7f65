"""The append-only log of instances: segments, the frames in them, and reading, writing, erasing both."""
