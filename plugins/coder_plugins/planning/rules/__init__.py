"""Planning's rules: pure functions over plain values.

Nothing here reads a file, a database or a clock; today's date and the records come in, answers go out. So the same
input always gives the same answer, and each rule is tested alone.
"""
