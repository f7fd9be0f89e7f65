"""PS3.7, messages. No I/O: command sets as bytes and values, and messages assembled from fragments."""
