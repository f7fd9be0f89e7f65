"""The change log, written in the transaction of the change."""
