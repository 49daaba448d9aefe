"""Label Studio's own templates and examples with images, adopted as taxonomies: fully, partly, or not and why.

They are read from the environment of the Label Studio server, which `make label-studio` prepares.
"""

from dataclasses import dataclass
from pathlib import Path

import yaml

from api.demo import label_studio_server
from benchmarks import report
from labeling import label_config
from store.errors import InvalidInputError

_PACKAGE = "lib/python3*/site-packages/label_studio"


@dataclass(frozen=True)
class Mapped:
    """How much of one config a taxonomy can say."""

    name: str
    verdict: str  # fully, partly, not
    kind: str
    why: str  # what is left out


def configs() -> dict[str, str]:
    """The configs that show an image, by name."""
    environment, _ = label_studio_server.prepare()
    [package] = environment.glob(_PACKAGE)
    found = {
        path.parent.name: str(yaml.safe_load(path.read_text(encoding="utf-8"))["config"])
        for path in sorted(package.glob("annotation_templates/*/*/config.yml"))
    }
    found |= {
        _example(path): path.read_text(encoding="utf-8") for path in sorted(package.glob("core/examples/*/*.xml"))
    }
    return {name: config for name, config in found.items() if "<Image" in config}


def map_one(name: str, config: str) -> Mapped:
    """Adopt a config, and see that what was adopted survives our own rendering."""
    try:
        adopted = label_config.adopt(config)
    except InvalidInputError as error:
        return Mapped(name, "not", "–", str(error))
    if label_config.parse(label_config.render(adopted.definition)) != adopted.definition:
        return Mapped(name, "partly", adopted.definition.kind, "It changes when it is rendered.")
    verdict = "partly" if adopted.unmapped else "fully"
    return Mapped(name, verdict, adopted.definition.kind, " ".join(adopted.unmapped))


def main() -> None:
    """Print the table."""
    rows = [map_one(name, config) for name, config in configs().items()]
    headings = ("config", "mapped", "kind", "left out")
    report.tell("config-gallery", [], headings, [(row.name, row.verdict, row.kind, row.why) for row in rows])


def _example(path: Path) -> str:
    return f"example {path.parent.name}"


if __name__ == "__main__":
    main()
