"""PS3.7, messages. No I/O."""
