"""A bundle of facts for whoever helps: what is installed, what is wrong, what happened last, and no content.

What goes in is chosen, never filtered out of everything: numbers, names of things that a program declared, and the
words of our own log. Texts that a person or another program wrote stay out, whatever they are. `redact` is the second
wall: it takes secrets, names and home folders out of what was chosen.
"""
