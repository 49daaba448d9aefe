"""The pictures in docs/pictures, of a demo that is up: `make demo`, then `make screenshots`.

To add one, write a function that brings the page to what the picture shows, and name it in `PICTURES`.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from playwright.sync_api import Page

from tests.browser import open_page

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"


def explore(page: Page, ports: Mapping[str, int]) -> None:
    """The FiftyOne App: pictures with label and prediction beside the map, coloured by prediction."""
    page.goto(f"http://127.0.0.1:{ports['The FiftyOne App']}/datasets/winnow?workspace=umap")
    page.locator('[data-cy="looker"] canvas[canvas-loaded="true"]').first.wait_for(timeout=60_000)
    for advertisement in reversed(page.get_by_text("Dismiss", exact=True).all()):
        advertisement.click()
    page.locator(".emb-runs-stack").get_by_text("umap", exact=True).click()
    page.get_by_label("Color by").click()
    page.get_by_role("option", name="prediction_probe.label").click()
    page.get_by_text("prediction_probe.label", exact=False).last.wait_for()
    page.locator(".emb-colorby-spinner").wait_for(state="hidden")
    page.wait_for_timeout(2_000)  # the points take their colours slowly, and nothing says when


PICTURES: dict[str, Callable[[Page, Mapping[str, int]], None]] = {"explore.png": explore}


def main() -> None:
    """Take every picture of the demo whose workspace is named on the command line."""
    home = Path(sys.argv[1] if len(sys.argv) > 1 else "winnow-demo")
    record = home / "demo-servers.json"
    running = json.loads(record.read_text()) if record.exists() else {"servers": []}
    if not running["servers"]:
        sys.exit(f"No demo runs in {home}. Run: make demo")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, bring in PICTURES.items():
        with open_page() as page:
            bring(page, running["ports"])
            page.screenshot(path=FOLDER / name)
        print(FOLDER / name)


if __name__ == "__main__":
    main()
