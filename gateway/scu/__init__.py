"""Services that we ask of others (PS3.4): verification, storage, query, retrieve."""
