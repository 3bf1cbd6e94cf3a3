"""Notebooks over real HTTP, for the tests of /run_jupyter."""

import json
import urllib.error
import urllib.request

from sandbox_server import ServerConfig

CONFIG = ServerConfig(port=0, workers=1, preload=(), max_output_bytes=20_000)
"""One worker, so that notebooks follow each other in the same place."""


def run(endpoint, *cells, **options):
    """The decoded answer to `cells`."""
    status, body = post(endpoint, cells=cells, **options)
    assert status == 200, body
    return body


def post(endpoint, **body):
    """The status and the decoded body of any answer."""
    request = urllib.request.Request(f"{endpoint}/run_jupyter", json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


def cell(stdout="", stderr="", display=(), error=()):
    """A cell of an answer."""
    return {"stdout": stdout, "stderr": stderr, "display": list(display), "error": list(error)}
