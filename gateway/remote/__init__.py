"""Other systems: send to them, query them, fetch from them. One file for each kind."""
