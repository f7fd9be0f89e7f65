"""Which instance goes where: rules, and why one matches or not. Pure: no I/O, no database."""
