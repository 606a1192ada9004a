"""Train: a family on a visitor's own pictures, on a page of its own."""
