"""Every statement of the index, in files named after those of `index/` that use them. Nothing runs them here."""
