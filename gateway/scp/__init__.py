"""The service classes of PS3.4 that the gateway provides as SCP."""
