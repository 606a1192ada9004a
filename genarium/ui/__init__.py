"""The browser app. Gradio is imported here and in app.py only; what a model can do comes from the host."""

from genarium.ui.layout import build_app

__all__ = ["build_app"]
