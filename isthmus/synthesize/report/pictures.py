"""A scene as a picture: the image, where it is at hand, with its boxes and their names."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path

from isthmus.core.chat import whole
from isthmus.core.contracts import Scene
from isthmus.core.data.images import open_picture
from isthmus.errors import ImageError
from isthmus.synthesize.images import image_at

SIDE = 360
COLOURS = ("#dc2626", "#2563eb", "#16a34a", "#d97706", "#9333ea", "#0891b2", "#db2777", "#4d7c0f")


def drawn(scene: Scene, images: Path | None) -> str:
    """An SVG that stands alone. Without the image, boxes lie on grey; what is wrong with one that
    is there stands below."""
    width, height = _fit(scene.size or (4, 3))
    inside = f'<rect width="{width}" height="{height}" fill="#e5e7eb"/>'
    wrong = ""
    if path := image_at(images, scene.image):
        try:
            picture = open_picture(path)
        except ImageError as error:  # of a kept sample no more than the header was read
            why = str(error).replace(str(path), scene.image)
            wrong = f"<p class=quiet>{escape(whole(why))}</p>"
        else:
            width, height = _fit(picture.size)
            buffer = io.BytesIO()
            picture.resize((width, height)).save(buffer, "JPEG", quality=80)
            data = base64.b64encode(buffer.getvalue()).decode()
            inside = (
                f'<image width="{width}" height="{height}" href="data:image/jpeg;base64,{data}"/>'
            )
    names = list(dict.fromkeys(each.category for each in scene.instances))
    for each in scene.instances:
        left, top, right, bottom = each.box
        x, y = left * width, top * height
        colour = COLOURS[names.index(each.category) % len(COLOURS)]
        dash = ' stroke-dasharray="5 3"' if each.crowd else ""
        inside += (
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{(right - left) * width:.1f}" '
            f'height="{(bottom - top) * height:.1f}" fill="none" stroke="{colour}" '
            f'stroke-width="2"{dash}/><text x="{x + 3:.1f}" y="{y + 13:.1f}" font-size="12" '
            f'fill="{colour}">{escape(whole(each.category[:40]))}</text>'
        )
    return f'<svg viewBox="0 0 {width} {height}" width="{width}">{inside}</svg>{wrong}'


def _fit(size: tuple[int, int]) -> tuple[int, int]:
    scale = SIDE / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
