"""Data: problems from the Hugging Face hub or from files, filtered, in verl's parquet format.

`sources` is the table of known data sets; `hub`, `files` and `columns` read them; `normal`, `rules`, `duplicates` and
`overlap` decide on problems; `filter` puts them together and `prepare` does it with files, which `verl_format` and
`manifest` write. `rates`, `lim`, `balance` and `choice` choose problems by success rate, and `select` does it with
files. `describe` says what is in a file. `command` is the CLI.
"""
