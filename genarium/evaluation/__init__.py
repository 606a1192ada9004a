"""How good a checkpoint is: what is measured, by what, and the table of all."""
