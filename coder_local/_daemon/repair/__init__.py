"""Looking for what is wrong, and mending it: what the doctor finds, and what each finding can have done about it.

`files` looks at the data directory itself, with a daemon or without; `data` at what is in the database while a daemon
works; `offline` is for a directory without a daemon; `salvaging` for a database that is damaged.
"""
