"""The program beside each command: it owns the pipes, masks and keeps the output, and writes the exit down.

It outlives the daemon, so its modules import the standard library and each other only: it runs with `-I -S`, without
the packages of the daemon, and every import is time that a command waits.
"""
