"""An exception of a cell as Jupyter tells of it: name, message, and a traceback of parts. Without colours."""

import linecache
import os
import types
from collections.abc import Iterator

_OURS = os.path.dirname(__file__) + os.sep
_WIDTH = 75  # characters of a line; IPython's
_CONTEXT = 2  # lines shown before and after the line that failed
_FRAMES = 10  # frames shown at each end of a longer traceback
_CHAIN = 10  # exceptions shown of a chain
_MESSAGE = 20_000  # characters of a message

_DIRECT = "\nThe above exception was the direct cause of the following exception:\n"
_DURING = "\nDuring handling of the above exception, another exception occurred:\n"


def cell_name(number: int) -> str:
    """The file name of cell `number`, counted from 1."""
    return f"Cell In[{number}]"


def described(error: BaseException) -> dict[str, object]:
    """`ename`, `evalue` and `traceback` of an exception. Frames of this package are left out."""
    return {"ename": type(error).__name__, "evalue": _message(error), "traceback": _traceback(error)}


def _traceback(error: BaseException) -> list[str]:
    frames = list(_frames(error))
    if isinstance(error, SyntaxError) and not frames:
        return [_syntax_error(error)]
    parts = ["-" * _WIDTH]
    for one, link in reversed(_chain(error)):
        name = type(one).__name__
        parts += [name + "Traceback (most recent call last)".rjust(_WIDTH - len(name))]
        parts += _shortened([_frame(frame, line) for frame, line in _frames(one)])
        if isinstance(one, SyntaxError):
            parts.append(_syntax_error(one))
        else:
            parts.append("\n".join([f"{name}: {_message(one)}", *_notes(one)]))
        parts += [link] if link else []
    return parts


def _chain(error: BaseException) -> list[tuple[BaseException, str]]:
    """The exception and those before it, latest first; each with the words that lead to the one after it."""
    chain, link = [], ""
    while error is not None and len(chain) < _CHAIN and all(error is not known for known, _ in chain):
        chain.append((error, link))
        if error.__cause__ is not None:
            error, link = error.__cause__, _DIRECT
        else:
            error, link = None if error.__suppress_context__ else error.__context__, _DURING
    return chain


def _frames(error: BaseException) -> Iterator[tuple[types.FrameType, int]]:
    traceback = error.__traceback__
    while traceback is not None:
        if not traceback.tb_frame.f_code.co_filename.startswith(_OURS):
            yield traceback.tb_frame, traceback.tb_lineno
        traceback = traceback.tb_next


def _shortened(parts: list[str]) -> list[str]:
    if len(parts) <= 2 * _FRAMES + 1:
        return parts
    return [*parts[:_FRAMES], f"    [... {len(parts) - 2 * _FRAMES} frames not shown ...]", *parts[-_FRAMES:]]


def _frame(frame: types.FrameType, number: int) -> str:
    code = frame.f_code
    in_cell = code.co_filename.startswith("Cell In[")
    place = f"{code.co_filename}, line {number}" if in_cell else f"File {code.co_filename}:{number}"
    inside = "" if code.co_name == "<module>" else f", in {code.co_qualname}"
    lines = [f"{place}{inside}"]
    for near in range(max(1, number - _CONTEXT), number + _CONTEXT + 1):
        if text := linecache.getline(code.co_filename, near, frame.f_globals):
            margin = f"{'-' * (4 - len(str(near)) + 1)}> {near}" if near == number else f"{near:>7}"
            lines.append(f"{margin} {text.rstrip()}"[:1000])
    return "\n".join(lines)


def _syntax_error(error: SyntaxError) -> str:
    lines = [f"  {error.filename}, line {error.lineno}" if error.filename else ""]
    if isinstance(error.text, str):
        text = error.text.rstrip("\n")
        lines += [f"    {text[:1000]}", f"    {' ' * ((error.offset or 1) - 1)}^"[:1000]]
    lines.append(f"{type(error).__name__}: {error.msg}{_hint(error)}")
    return "\n".join(filter(None, lines))


def _hint(error: SyntaxError) -> str:
    """What to tell those who write for IPython."""
    text = error.text.strip() if isinstance(error.text, str) else ""
    at = error.text[error.offset - 1 :][:1] if isinstance(error.text, str) and error.offset else ""
    if text[:1] == "%" or at == "%":
        return ". Magic commands (%name) are IPython's and not available here; write plain Python"
    if text[:1] == "!" or at == "!":
        return ". Shell commands (!command) are IPython's and not available here; use subprocess.run"
    if text[:1] == "?" or text[-1:] == "?":
        return ". The question mark is IPython's and not available here; use help()"
    return ""


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException as worse:  # noqa: BLE001 - the program's own method; CPython too goes on with a note
        return f"<exception str() failed: {type(worse).__name__}>"
    if isinstance(error, SyntaxError):
        text += _hint(error)
    return text if len(text) <= _MESSAGE else f"{text[:_MESSAGE]}... ({len(text) - _MESSAGE} characters left out)"


def _notes(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", None)
    return [note[:_MESSAGE] for note in notes if isinstance(note, str)] if isinstance(notes, list) else []
