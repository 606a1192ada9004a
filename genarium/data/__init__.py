"""Data sets as the training and the evaluation take them: whole splits in memory."""
