"""Durable work in one table: leases, attempts, backoff, priorities."""
