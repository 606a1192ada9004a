"""A family on somebody's own pictures: from what was found to a recipe, and from that to a measured checkpoint."""
