"""Agents that play the environments of nas_gym."""
