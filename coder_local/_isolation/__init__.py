"""A plugin in a process of its own: what it may do, what is sent between the two processes, and the child's side.

`manifest` says what the plugin may do; `wire` sends messages; `types` and `declarations` carry what it declares to the
daemon, which never imports its code; `steps` repeats on the writer what a transaction did in the child. The rest runs
in the child: `child` (its life), `draft` (its snapshots and transactions), `outside` (its contexts), `fence`.
"""
