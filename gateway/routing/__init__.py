"""Routing: rules decide which instance goes where, and say why one matches or not. Pure: no I/O, no database."""
