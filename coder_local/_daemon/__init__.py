"""The process around the kernel: lock, boot, ready line, watching, recovery, stop; and the operations on all that."""
