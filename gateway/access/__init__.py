"""Authentication and the rules on callers: users and passwords, tokens, modalities, hosts, proxies."""
