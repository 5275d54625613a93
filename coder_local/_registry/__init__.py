"""What is loaded and what may be asked: plugins one by one with their status, the collected operations, dispatch."""
