"""Reports for readers: `text.py` on a terminal, `html.py` as a page, `summary.py` for a document."""
