"""The state machine: all transitions of runs and steps, each inside the caller's transaction.

`live` holds a run in memory while it is moved; `waiting`, `fanout` and `attempts` are the transitions of steps,
`settling` decides what follows from them, `control` is what a person may ask for, `forks` makes runs from runs.
Imports go in that order, from left to right; only `settling` moves a step that another step's end concerns.
"""
