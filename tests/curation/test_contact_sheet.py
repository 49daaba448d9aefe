"""The sheet that shows where copies end: whole, harmless, and as large as what it shows."""

import re
from collections.abc import Sequence
from html.parser import HTMLParser

import pytest
from PIL import Image

from curation import contact_sheet
from curation.calibration import Calibration
from curation.contact_sheet import Band, Sheet, Shown
from curation.duplicates import Match
from store.schema import ImageId

CALIBRATION = Calibration(0.4, 0.1, False, 0, {}, None, 0, 0.0, None, None)


def shown(match: Match | None) -> Shown:
    pictures = (Image.new("RGB", (40, 30), "red"), Image.new("RGB", (30, 40), "blue"))
    return Shown((ImageId(1), ImageId(2)), 0.875, match, pictures)


def sheet(pairs: Sequence[Shown]) -> Sheet:
    bands = [Band(0.8, 0.9, 7, list(pairs)), Band(0.4, 0.8, 0, [])]
    return Sheet("<script>alert(1)</script>", 12, bands, CALIBRATION)


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_needs_no_other_file_and_runs_nothing() -> None:
    text = contact_sheet.render_html(sheet([shown(Match("crop", 0.05)), shown(None)]))
    tags = Tags(text).found
    assert [attributes.get("class") for tag, attributes in tags if tag == "figure"] == ["same", "other"]
    sources = [str(attributes["src"]) for tag, attributes in tags if tag == "img"]
    assert len(sources) == 4
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "script" not in {tag for tag, _ in tags}
    assert not re.search(r"https?://", text)
    assert "cosine 0.800 to 0.900: 7 pairs, 50% of those shown are one picture" in text


@pytest.mark.parametrize("pairs", [1, 3])
def test_the_picture_has_a_place_for_each_pair(pairs: int) -> None:
    picture = contact_sheet.render_png(sheet([shown(None)] * pairs))
    place = 2 * contact_sheet._SIDE + 16
    assert picture.width == pairs * place + 8
    assert [picture.getpixel((8 + i * place + 5, 8 + 24 + 5)) for i in range(pairs)] == [(255, 0, 0)] * pairs


def test_a_pair_says_what_is_known_of_it() -> None:
    assert contact_sheet.caption(shown(Match("crop", 0.05))) == "1 / 2  cos 0.875  crop 0.050"
    assert contact_sheet.caption(shown(None)) == "1 / 2  cos 0.875  not the same"
