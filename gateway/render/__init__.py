"""Rendering: the display pipeline of PS3.4 Annex N, image files, structured reports as HTML."""
