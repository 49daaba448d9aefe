import hashlib
import io
import shutil
from datetime import timedelta
from typing import Any

import numpy as np
import pillow_heif
import pytest
from fastapi.testclient import TestClient
from PIL import Image as Pillow
from PIL import ImageOps

from api import image_urls
from api.app import create_app
from store import errors, schema
from store.schema import ImageId, now
from store.workspace import Workspace


def link(workspace: Workspace, image_id: int, *, hours: float = 1) -> str:
    token = image_urls.sign(workspace.key, ImageId(image_id), expires=now() + timedelta(hours=hours))
    return f"/images/{token}"


def test_a_link_shows_the_file_byte_for_byte_to_any_origin(workspace: Workspace, photos: Any, client: Any) -> None:
    answer = client.get(link(workspace, photos.add("a.png")), headers={"Origin": "http://127.0.0.1:8080"})
    assert answer.status_code == 200
    assert answer.content == (photos.folder / "a.png").read_bytes()
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "max-age" in answer.headers["cache-control"]


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.jpg", "image/jpeg"),
        ("a.webp", "image/webp"),
        ("a.png", "image/png"),
        ("a.gif", "image/png"),
        ("a.avif", "image/png"),
    ],
)
def test_the_content_type_is_that_of_the_bytes(
    workspace: Workspace, photos: Any, client: Any, name: str, media_type: str
) -> None:
    image_id = photos.add(name)
    misnamed = (photos.folder / name).rename(photos.folder / "misnamed.bmp")
    photos.sight(misnamed)
    assert client.get(link(workspace, image_id)).headers["content-type"] == media_type


@pytest.mark.parametrize(
    ("kind", "length"), [("JPEG", None), ("JPEG", -200), ("PNG", None), ("WEBP", None), ("TIFF", None)]
)
def test_a_link_does_not_tell_where_a_picture_was_taken(
    workspace: Workspace, photos: Any, client: Any, kind: str, length: int | None
) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "ACME Cameras"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0)})
    noise = Pillow.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))
    file = photos.folder / "a.photo"
    photos.folder.mkdir()
    noise.save(file, kind, exif=exif)
    file.write_bytes(file.read_bytes()[:length])
    answer = client.get(link(workspace, photos.sight(file)))
    assert answer.status_code == 200
    assert b"ACME" in file.read_bytes()
    assert b"ACME" not in answer.content
    shown = Pillow.open(io.BytesIO(answer.content))
    assert not shown.getexif().get_ifd(0x8825)
    assert ImageOps.exif_transpose(shown).size == (30, 40)


def saved(picture: Pillow.Image, kind: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def heic(picture: Pillow.Image) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(picture).save(file)
    return file.getvalue()


NAVY = Pillow.new("RGB", (40, 30), (0, 0, 128))


@pytest.mark.parametrize(
    ("data", "colour"),
    [
        (saved(NAVY, "TIFF"), (0, 0, 128)),
        (saved(NAVY, "JPEG2000"), (0, 0, 128)),
        (saved(NAVY, "PPM"), (0, 0, 128)),
        (heic(NAVY), (0, 0, 128)),
        (saved(Pillow.fromarray(np.full((30, 40), 51 * 257, np.uint16)), "TIFF"), (51, 51, 51)),
        (saved(Pillow.fromarray(np.full((30, 40), 0.2, np.float32)), "TIFF"), (51, 51, 51)),
    ],
    ids=["tiff", "jpeg2000", "ppm", "heic", "16 bits", "floats"],
)
def test_a_link_shows_what_no_browser_can_as_png(
    workspace: Workspace, photos: Any, client: Any, data: bytes, colour: tuple[int, int, int]
) -> None:
    file = photos.folder / "a.scan"
    photos.folder.mkdir()
    file.write_bytes(data)
    path = link(workspace, photos.sight(file))
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.headers["access-control-allow-origin"] == "*"
    shown = Pillow.open(io.BytesIO(answer.content))
    assert (shown.format, shown.mode, shown.size) == ("PNG", "RGB", (40, 30))
    assert shown.getpixel((20, 15)) == pytest.approx(colour, abs=2)  # HEIC is lossy

    file.unlink()
    assert client.get(path).content == answer.content  # made once


def test_what_a_link_shows_is_as_upright_as_the_catalog_counts_places(
    workspace: Workspace, photos: Any, client: Any
) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image_id = photos.add("a.tif", size=(40, 30), exif=exif)
    shown = Pillow.open(io.BytesIO(client.get(link(workspace, image_id)).content))
    assert (shown.format, shown.size) == ("PNG", (30, 40))


def test_a_link_that_ended_or_was_made_elsewhere_is_refused_in_a_sentence(
    workspace: Workspace, photos: Any, client: Any
) -> None:
    image_id = photos.add("a.png")
    for path, reason in [(link(workspace, image_id, hours=-1), "ended at"), ("/images/nonsense", "not made by")]:
        answer = client.get(path)
        assert answer.status_code == 403
        assert reason in answer.json()["error"]
        assert answer.headers["access-control-allow-origin"] == "*"


def test_an_image_whose_file_changed_is_read_where_it_is_unchanged(
    workspace: Workspace, photos: Any, client: Any
) -> None:
    image_id = photos.add("a.png")
    copy = photos.folder / "copy.png"
    shutil.copy(photos.folder / "a.png", copy)
    photos.sight(copy)
    original = copy.read_bytes()
    copy.write_bytes(original[:-1] + b"x")  # the same size
    assert client.get(link(workspace, image_id)).content == original

    (photos.folder / "a.png").unlink()
    answer = client.get(link(workspace, image_id))
    assert answer.status_code == 404
    assert "gone or has changed" in answer.json()["error"]


def test_a_link_without_its_file_does_not_tell_the_image(workspace: Workspace, photos: Any, client: Any) -> None:
    image_id = photos.add("a.png")
    (photos.folder / "a.png").unlink()
    moved, unknown = client.get(link(workspace, image_id)), client.get(link(workspace, 99))
    assert (moved.status_code, moved.json()) == (unknown.status_code, unknown.json())
    assert moved.status_code == 404
    assert not any(character.isdigit() for character in moved.text)
    assert moved.headers["access-control-allow-origin"] == "*"


def test_a_file_that_cannot_be_shown_is_no_broken_link(workspace: Workspace, photos: Any, client: Any) -> None:
    file = photos.folder / "a.tif"
    image_id = photos.add("a.tif")
    data = file.read_bytes()[:-2000]
    file.write_bytes(data)
    with workspace.database.write() as session:
        session.get_one(schema.Image, image_id).sha256 = hashlib.sha256(data).hexdigest()
    answer = client.get(link(workspace, image_id))
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("This image cannot be shown: the file is damaged")
    assert answer.headers["access-control-allow-origin"] == "*"


def test_a_thumbnail_is_small_upright_and_made_once(workspace: Workspace, photos: Any, client: Any) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6  # turned by a quarter: shown as 300 × 400
    image_id = photos.add("a.jpg", size=(400, 300), exif=exif)
    answer = client.get(f"/thumbnails/{image_id}.jpg?size=96")
    assert answer.headers["content-type"] == "image/jpeg"
    assert Pillow.open(io.BytesIO(answer.content)).size == (72, 96)

    (photos.folder / "a.jpg").unlink()
    assert client.get(f"/thumbnails/{image_id}.jpg?size=96").content == answer.content
    assert [path.suffix for path in workspace.thumbnails_dir.iterdir()] == [".jpg"]


def test_a_thumbnail_that_cannot_be_made_is_a_sentence(photos: Any, client: Any) -> None:
    image_id = photos.add("a.png")
    assert client.get(f"/thumbnails/{image_id}.jpg?size=97").status_code == 422
    assert client.get("/thumbnails/99.jpg").status_code == 404
    (photos.folder / "a.png").unlink()
    assert "Put it back" in client.get(f"/thumbnails/{image_id}.jpg").json()["error"]


def test_only_images_may_be_read_from_other_origins(client: Any) -> None:
    for path in ("/", "/v1/status", "/thumbnails/1.jpg", "/static/dashboard.css"):
        assert "access-control-allow-origin" not in client.get(path, headers={"Origin": "http://evil.example"}).headers


def test_a_request_that_names_another_host_is_refused(workspace: Workspace) -> None:
    app = create_app(workspace)
    assert TestClient(app, base_url="http://localhost:8765").get("/health").json() == {"status": "up"}
    assert TestClient(app, base_url="http://rebound.example").get("/health").status_code == 400
    opened = create_app(workspace, hosts=["*"])
    assert TestClient(opened, base_url="http://rebound.example").get("/health").status_code == 200


@pytest.mark.parametrize("address", [("192.0.2.7", 1), ("2001:db8::7", 1), ("no address", 1)])
def test_other_machines_see_signed_images_alone(workspace: Workspace, photos: Any, address: tuple[str, int]) -> None:
    photo = link(workspace, photos.add("a.png"))
    ours = ("/", "/adjudication", "/v1/images", "/v1/queue", "/v1/batches/1", "/thumbnails/1.jpg", "/openapi.json")
    stranger = TestClient(create_app(workspace, hosts=["*"]), client=address)
    assert stranger.get(photo).status_code == 200
    assert stranger.post("/v1/hooks/1").status_code == 403  # without its secret
    for path in ours:
        assert stranger.get(path).status_code == 403
        assert "winnow serve --open" in stranger.get(path).json()["error"]
    invited = TestClient(create_app(workspace, hosts=["*"], is_open=True), client=address)
    assert invited.get("/v1/images").status_code == 200
    assert invited.get("/").status_code == 200


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.NotFoundError, 404),
        (errors.ConflictError, 409),
        (errors.InvalidInputError, 422),
        (errors.RemoteError, 502),
        (errors.LeakError, 500),
    ],
)
def test_an_error_is_a_sentence_with_its_status(workspace: Workspace, kind: type[Exception], status: int) -> None:
    app = create_app(workspace)

    @app.get("/fail")
    def fail() -> None:
        raise kind("What, how many, what next.")

    answer = TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1)).get("/fail")
    assert (answer.status_code, answer.json()) == (status, {"error": "What, how many, what next."})


def test_no_page_of_the_service_loads_anything_from_elsewhere(client: Any) -> None:
    assert client.get("/docs").status_code == 404
    assert client.get("/openapi.json").status_code == 200
    policy = client.get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_images_are_listed_page_by_page(photos: Any, client: Any) -> None:
    ids = [photos.add(f"{colour}.png", colour) for colour in ("red", "green", "blue")]
    first = client.get("/v1/images?limit=2").json()
    second = client.get(f"/v1/images?limit=2&after={first['next']}").json()
    assert [image["id"] for image in first["images"] + second["images"]] == ids
    assert second["next"] is None
    assert first["images"][0]["uris"] == [str(photos.folder / "red.png")]
    assert client.get("/v1/images?limit=0").status_code == 422


def test_what_the_command_line_lists_is_there_as_json(build: Any, client: Any) -> None:
    images = build.images(4)
    batch_id = build.batch(images[:2], arms=["diverse", "random"])
    build.campaign(batch_id, build.taxonomy())
    batch = client.get(f"/v1/batches/{batch_id}").json()
    assert [(pick["image"], pick["arm"]) for pick in batch["picks"]] == [(images[0], "diverse"), (images[1], "random")]
    (campaign,) = client.get("/v1/campaigns").json()["campaigns"]
    assert (campaign["tasks"], campaign["pushed"], campaign["answered"]) == (2, 2, 0)
    stages = {stage["name"]: stage["count"] for stage in client.get("/v1/status").json()["stages"]}
    assert (stages["Images"], stages["Batches"], stages["Tasks"]) == (4, 1, 2)
    assert client.get("/v1/duplicates").json() == {"groups": [], "next": None}
    assert client.get("/v1/jobs").json() == {"jobs": []}
    assert client.get("/v1/schedules").json() == {"schedules": []}
    assert client.get("/v1/batches/99").status_code == 404
    assert client.get("/v1/versions/none").status_code == 404


def test_values_that_cannot_be_are_refused_in_a_sentence(client: Any) -> None:
    answer = client.get("/v1/images?limit=many")
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("The request cannot be used: limit: input should be a valid integer")
    assert client.get(f"/v1/batches/{10**30}").json() == {"error": "A number in the request is too large."}
