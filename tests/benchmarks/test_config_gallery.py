import pytest

from benchmarks import config_gallery

# What shows several images or lists of them, asks about other things, takes its classes from each
# task, or draws ellipses is no taxonomy of ours.
NOT_MAPPABLE = {
    "breast-cancer-mammogram-classification",
    "content-based-image-search",
    "example image_circular",
    "example image_multi_class",
    "inventory-tracking",
    "multipage-documents",
    "pairwise-regression",
    "visual-genome",
    "visual-question-answering",
}
PARTLY = {
    "example adv_region_image",  # several texts of a region become one
    "example image_classification",  # its choices may be left open
    "example image_mixedlabel",  # images are mapped, sound and text are not
    "image-classification",
    "ocr-invoices-pre-ner-bio-format",
}


@pytest.mark.label_studio
def test_every_template_about_one_image_maps_and_what_is_left_out_is_named() -> None:
    mapped = [config_gallery.map_one(name, config) for name, config in config_gallery.configs().items()]
    assert len(mapped) > 20
    assert {each.name for each in mapped if each.verdict == "not"} == NOT_MAPPABLE
    assert {each.name for each in mapped if each.verdict == "partly"} == PARTLY
