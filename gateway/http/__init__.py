"""Formats of HTTP for both sides, server and client: multipart bodies (RFC 2046, PS3.18 §8.7)."""
