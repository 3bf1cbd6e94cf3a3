"""Files without a name, for what a worker and a program hand each other."""

import os


def nameless_file(directory: str) -> int:
    """A descriptor of a new, empty file on the file system of `directory`, gone when nobody has it open any more.

    What memfd_create(2) gives, which the call filter refuses to programs and hence to their worker.
    """
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError:  # not every file system has them; this one reports its own errors
        # Here, because what it brings along would be memory of every fork.
        import tempfile

        with tempfile.TemporaryFile(dir=directory) as file:
            return os.dup(file.fileno())
