"""What the workers of one gateway must know of each other. Starting them is in `gateway/workers/`."""
