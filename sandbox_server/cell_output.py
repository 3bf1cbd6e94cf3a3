"""What Jupyter would display of a value: its representations by MIME type."""

import base64
import io
import os
import sys
import warnings
from collections.abc import Callable

from sandbox_server.cell_errors import described

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
    """The representations of `value`; empty when it displays itself, or when no representation can be had.

    As in IPython, an exception of a representation method is printed to standard error and costs that representation.
    """
    # Asked of the class: an instance may answer to any name, and a class that is displayed is none of its instances.
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
