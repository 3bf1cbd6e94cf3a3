"""Data: problems from the Hugging Face hub or from files, filtered, in verl's parquet format.

`sources` is the table of known data sets; `hub`, `files` and `columns` read them; `normal`, `rules`, `duplicates` and
`overlap` decide on problems; `prepare` puts them together, and `verl_format` and `manifest` write. `rates`, `lim`,
`balance` and `selection` choose problems by success rate. `describe` says what is in a file. `command` is the CLI.
"""
