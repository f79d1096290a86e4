"""Attacks on the browser boundary: tables over all that exists, which new things must join."""
