"""What Jupyter would show of a cell: a value's representations by MIME type, and what an exception says.

An exception is its name, its message and a traceback in parts. Without colours.
"""

import base64
import io
import linecache
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterator

_OURS = os.path.dirname(__file__) + os.sep
_WIDTH = 75  # characters of a line; IPython's
_CONTEXT = 2  # lines shown before and after the line that failed
_FRAMES = 10  # frames shown at each end of a longer traceback
_CHAIN = 10  # exceptions shown of a chain
_MESSAGE = 20_000  # characters of a message

_DIRECT = "\nThe above exception was the direct cause of the following exception:\n"
_DURING = "\nDuring handling of the above exception, another exception occurred:\n"

_METHODS = {
    "_repr_html_": "text/html",
    "_repr_markdown_": "text/markdown",
    "_repr_latex_": "text/latex",
    "_repr_svg_": "image/svg+xml",
    "_repr_png_": "image/png",
    "_repr_jpeg_": "image/jpeg",
    "_repr_pdf_": "application/pdf",
    "_repr_json_": "application/json",
    "_repr_javascript_": "application/javascript",
}


def bundle(value: object) -> dict[str, object]:
    """The representations of `value`; empty when it displays itself, or when it has no representation.

    As in IPython, an exception of a representation method is printed to standard error and costs that representation.
    """
    # Asked of the class: an instance may answer to any name, and a displayed class is not an instance of itself.
    kind = type(value)
    if callable(itself := getattr(kind, "_ipython_display_", None)):
        _attempted(lambda: itself(value))
        return {}
    found: dict[str, object] = {}
    if callable(method := getattr(kind, "_repr_mimebundle_", None)):
        given = _attempted(lambda: method(value, include=None, exclude=None))
        given = given[0] if isinstance(given, tuple) and given else given
        found |= given if isinstance(given, dict) else {}
    if "text/plain" not in found and (text := _attempted(lambda: repr(value))) is not None:
        found = {"text/plain": text} | found
    for name, mime in _METHODS.items():
        if mime not in found and callable(getattr(kind, name, None)):
            given = _attempted(getattr(value, name))
            given = given[0] if isinstance(given, tuple) and given else given
            if given is not None:
                found[mime] = given
    return {mime: _as_json(content) for mime, content in found.items()}


def draw_without_screen() -> None:
    """Have matplotlib, should a cell import it, draw into memory, and `show()` say nothing of it."""
    os.environ["MPLBACKEND"] = "agg"
    warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")


def figures() -> list[dict[str, object]]:
    """The figures that matplotlib holds, as PNG; closes them. Printed to standard error when one cannot be drawn."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return []
    return _attempted(lambda: _drawn(pyplot)) or []


def _drawn(pyplot: object) -> list[dict[str, object]]:
    drawn = []
    for number in pyplot.get_fignums():
        figure, image = pyplot.figure(number), io.BytesIO()
        figure.savefig(image, format="png", bbox_inches="tight")
        drawn.append({"text/plain": repr(figure), "image/png": _as_json(image.getvalue())})
    pyplot.close("all")
    return drawn


def _attempted(make: Callable[[], object]) -> object:
    try:
        return make()
    except NotImplementedError:  # how a class says that it has no such representation
        return None
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - whatever else the program's own methods raise
        sys.stderr.write("\n".join(described(error)["traceback"]) + "\n")
        return None


def _as_json(content: object) -> object:
    return base64.b64encode(content).decode() if isinstance(content, bytes) else content


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
    except BaseException as worse:  # noqa: BLE001 - the program's own method; CPython too prints a note in its place
        return f"<exception str() failed: {type(worse).__name__}>"
    if isinstance(error, SyntaxError):
        text += _hint(error)
    return text if len(text) <= _MESSAGE else f"{text[:_MESSAGE]}... ({len(text) - _MESSAGE} characters left out)"


def _notes(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", None)
    return [note[:_MESSAGE] for note in notes if isinstance(note, str)] if isinstance(notes, list) else []
