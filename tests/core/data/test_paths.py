"""Nothing that a record writes as an image's path leaves the image folder."""

from __future__ import annotations

import pytest

from isthmus.core.data.paths import inside
from isthmus.errors import DataError


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../../etc/passwd",
        "a/../../b.jpg",
        "..",
        "a\0.jpg",
        "x" * 5000,
        "C:\\photos\\a.jpg",
        "C:a.jpg",
        "\\\\server\\share\\a.jpg",
        "..\\..\\a.jpg",
        "",
        None,
        7,
    ],
)
def test_path_out_of_the_root_names_the_record(name, tmp_path):
    with pytest.raises(DataError) as caught:
        inside(tmp_path.resolve(), name, "train.json, record 7")
    assert str(caught.value).startswith("train.json, record 7: ")
    assert len(str(caught.value)) < 250


def test_link_out_of_the_root_is_refused_and_one_within_it_is_not(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    (tmp_path / "secret.jpg").write_text("")
    (root / "real.jpg").write_text("")
    (root / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "up").symlink_to(tmp_path)
    (root / "in.jpg").symlink_to(root / "real.jpg")
    (root / "loop.jpg").symlink_to(root / "loop.jpg")
    root = root.resolve()
    for name in ("out.jpg", "up/secret.jpg", "up/photos2/x.jpg"):
        with pytest.raises(DataError, match="link that leaves"):
            inside(root, name, "row 1")
    assert inside(root, "in.jpg", "row 1") == root / "real.jpg"
    assert inside(root, "loop.jpg", "row 1") == root / "loop.jpg"


def test_ordinary_names_resolve_below_the_root(tmp_path):
    root = tmp_path.resolve()
    for name in ("a.jpg", "coco/train2017/0001.jpg", "a b/\u732b.png", "./a.jpg", "a..b.jpg"):
        assert inside(root, name, "row 1").is_relative_to(root)
