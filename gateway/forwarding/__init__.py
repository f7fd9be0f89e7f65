"""Forwarding: deliveries as rows, added by rules, done as jobs, and changed by an operator.

Which rule matches is decided in `routing/`; each kind of destination is implemented in `remote/`.
"""
