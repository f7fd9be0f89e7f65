"""What people ask of other systems over REST: which there are, echo, search, send, fetch and move, as jobs."""
