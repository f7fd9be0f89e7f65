"""Remote systems: sending to them, querying them, fetching from them. One file for each kind."""
