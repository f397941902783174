"""Reading scenes: COCO's own files, or rows of any file."""

from isthmus.synthesize.scenes.opening import open_scenes
from isthmus.synthesize.scenes.scenes import Scenes

__all__ = ["Scenes", "open_scenes"]
