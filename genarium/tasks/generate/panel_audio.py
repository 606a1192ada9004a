"""How generated sounds are shown: one at a time, chosen by a slider."""

from genarium.ui.players import Takes as Panel

__all__ = ["Panel"]
