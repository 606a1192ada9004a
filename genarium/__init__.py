"""Genarium: a playground where every family of generative model is a plugin. This package is the host."""

__version__ = "0.1.0"
