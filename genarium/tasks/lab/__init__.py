"""The Lab: families learn points of the plane while a visitor watches."""
