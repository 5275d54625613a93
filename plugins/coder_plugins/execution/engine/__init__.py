"""The engine: it claims steps, carries them out, and writes how they ended; one for each daemon."""
