"""PS3.5, 3.6, 3.10: data sets as bytes. No I/O."""
