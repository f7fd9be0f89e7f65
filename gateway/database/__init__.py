"""SQL and transactions. Only this package opens a database; only files named `queries.py` hold SQL besides it."""
