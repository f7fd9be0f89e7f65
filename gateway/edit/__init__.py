"""Attributes changed, and what identifies a patient taken away. No asyncio; reads by `read`, for a thread."""
