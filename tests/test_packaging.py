"""The path on disk is the import, and importing stays light."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["store", "curation", "sampling", "labeling", "qa", "api"]
HEAVY = {
    "torch",
    "faiss",
    "sklearn",
    "pandas",
    "cv2",
    "fiftyone",
    "umap",
    "numba",
    "dbos",
    "label_studio_sdk",
    "alembic",
}
RUN_AS_CHILDREN = {
    "curation.encoders.efficientnet_lite",
    "curation.explore_dataset",
}  # they are where torch and FiftyOne are used


def modules(package: str) -> list[str]:
    files = [path for path in sorted((ROOT / package).rglob("*.py")) if "migrations" not in path.parts]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_the_folder_of_this_clone(package: str) -> None:
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin == str(ROOT / package / "__init__.py")


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_reads_no_heavy_library(package: str) -> None:
    names = [name for name in modules(package) if name not in RUN_AS_CHILDREN]
    imports = f"[importlib.import_module(name) for name in {names}]"
    code = f"import importlib, json, sys; {imports}; print(json.dumps(list(sys.modules)))"
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code], cwd=ROOT))
    assert {name.split(".")[0] for name in loaded} & HEAVY == set()


def test_the_command_line_starts_without_the_database() -> None:
    code = "import sys, api.cli.main; print(sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    assert "sqlalchemy" not in loaded
    assert "numpy" not in loaded
