"""Explaining: the terms or the chain that a derived figure is made of."""
