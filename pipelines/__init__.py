"""What the Hub gets: flat, self-contained files that import nothing from this repository."""
