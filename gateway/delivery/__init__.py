"""Deliveries being done: from a job to a destination, and the answer back into its row."""
