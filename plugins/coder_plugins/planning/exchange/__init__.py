"""Exchange: bringing in the tasks of other tools, again and again without doubling, and giving them back.

What it promises:

- One import is one change: all of it or nothing, and one undo takes it back.
- Run again, an import brings what changed in the file and leaves what was changed here; of both, the file wins.
- A record that nobody changed here is written out as it was read, down to the fields that planning has no word for.
- A link whose other end is not here is kept, reported, and made as soon as that end arrives.

`rules` are pure: what a foreign record means here and back, which links are to be made and unmade. `arrival` and
`departure` do it in the database, `adapters` reads and writes the files.
"""
