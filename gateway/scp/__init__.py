"""PS3.4 service classes that we provide."""
