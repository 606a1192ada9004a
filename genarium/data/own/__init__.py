"""Pictures of people's own: what they bring is read within bounds, shown, and made into training data."""
