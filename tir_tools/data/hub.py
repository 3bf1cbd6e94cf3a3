"""Data files of the Hugging Face hub, fetched with its own client into its own cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tir_tools.data.errors import HubError
from tir_tools.data.sources import Source


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of a repository at one commit, on this machine."""

    folder: Path
    revision: str
    """The commit's hash."""


def fetch(source: Source, revision: str = "main") -> Snapshot:
    """The data files of a source, downloaded unless the hub's cache has them.

    `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME` and `HF_HUB_OFFLINE` act as they do everywhere.

    Raises:
        HubError: they are neither to be had nor in the cache.
    """
    import httpx
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            source.repository, repo_type="dataset", revision=revision, allow_patterns=list(source.files)
        )
    # The client's own errors are OSErrors, but for those of a proxy.
    except (OSError, httpx.HTTPError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise HubError(
            f"{source.name}: {source.repository} cannot be had from the Hugging Face hub: {reason}\n"
            "Two ways out:\n"
            f"  - on a machine that reaches the hub: hf download {source.repository} --repo-type dataset "
            f"--include '{source.files[0]}' --local-dir {source.name}\n"
            f"    then here: verl-tir data prepare {source.name} --from {source.name}\n"
            "  - a mirror, a login or a filled cache, through HF_ENDPOINT, HF_TOKEN or HF_HOME"
        ) from error
    snapshot = Path(folder)
    if not snapshot.is_dir() or not any(path.is_file() for path in snapshot.rglob("*")):
        raise HubError(
            f"{source.name}: {source.repository} at {revision} ({snapshot.name}) has no file that matches "
            f"{' or '.join(source.files)}; it has changed. Download it, and name the file: "
            f"verl-tir data prepare {source.name} --from FILE"
        )
    return Snapshot(snapshot, snapshot.name)
