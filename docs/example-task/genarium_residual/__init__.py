"""A task for Genarium in a package of its own: what of a picture a model does not give back."""
