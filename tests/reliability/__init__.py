"""Breaking things, to see that the guarantees hold."""
