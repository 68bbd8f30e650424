"""Toy tasks, spaces and sources, each of a kind that the package itself does not have yet."""
