"""The pictures in docs/pictures, of a demo that is up: `make demo`, then `make screenshots`.

To add one, write a function that brings the page to what the picture shows, and name it in `PICTURES`.
"""

import json
import sys
import time
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


def dashboard(page: Page, ports: Mapping[str, int]) -> None:
    """The whole dashboard, every thumbnail loaded."""
    page.goto(f"http://127.0.0.1:{ports['winnow serve']}/")
    page.set_viewport_size({"width": 1400, "height": page.evaluate("document.documentElement.scrollHeight")})
    wait_for_pictures(page, "every(image => image.complete && image.naturalWidth)")


def batch(page: Page, ports: Mapping[str, int]) -> None:
    """The upper part of the page of round 2's batch."""
    page.set_viewport_size({"width": 1400, "height": 1500})
    page.goto(f"http://127.0.0.1:{ports['winnow serve']}/batches/2")
    in_view = "filter(image => image.getBoundingClientRect().top < innerHeight)"
    wait_for_pictures(page, f"{in_view}.every(image => image.complete && image.naturalWidth)")


def task(page: Page, ports: Mapping[str, int], home: Path) -> None:
    """A task of round 2 in Label Studio, with the probe's prediction and the answers."""
    url = f"http://127.0.0.1:{ports['Label Studio']}"
    login = json.loads((home / "label-studio" / "login.json").read_text())
    log_in(page, url, login["email"], login["password"])
    page.goto(first_task(page, url, "round-2"))
    wait_for_pictures(page, "some(image => image.src.includes('/images/') && image.naturalWidth >= 200)")
    page.get_by_text("defective", exact=False).last.wait_for()
    page.wait_for_timeout(1_500)  # panels slide in, and nothing says when


def wait_for_pictures(page: Page, condition: str) -> None:
    """Until the page's images fulfil `condition`; asked from here, as the dashboard lets no text become script."""
    deadline = time.monotonic() + 60
    while not page.evaluate(f"[...document.images].{condition}"):
        assert time.monotonic() < deadline, f"After 60 s not yet: {condition}"
        page.wait_for_timeout(100)


def log_in(page: Page, url: str, email: str, password: str) -> None:
    """By the form, as a person does."""
    page.goto(f"{url}/user/login/")
    page.fill("input[name=email]", email)
    page.fill("input[name=password]", password)
    page.click("button[type=submit]")
    page.wait_for_url(lambda address: "/user/login" not in address)


def first_task(page: Page, url: str, campaign: str) -> str:
    """Where the first task of a campaign's project opens, for whoever is logged in on `page`."""
    projects = page.request.get(f"{url}/api/projects/?page_size=1000").json()["results"]
    project = next(each["id"] for each in projects if f"campaign {campaign}." in each["description"])
    tasks = page.request.get(f"{url}/api/tasks?project={project}&page_size=1").json()["tasks"]
    return f"{url}/projects/{project}/data?task={tasks[0]['id']}"


PICTURES: dict[str, Callable[[Page, Mapping[str, int], Path], None]] = {
    "dashboard.png": lambda page, ports, _: dashboard(page, ports),
    "batch.png": lambda page, ports, _: batch(page, ports),
    "explore.png": lambda page, ports, _: explore(page, ports),
    "label-studio.png": task,
}


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
            bring(page, running["ports"], home)
            page.screenshot(path=FOLDER / name)
        print(FOLDER / name)


if __name__ == "__main__":
    main()
