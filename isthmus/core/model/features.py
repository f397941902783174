"""Images through an encoder that neither learns nor draws: each distinct one once, and none
whose features are known."""

from __future__ import annotations

import torch
from torch import Tensor

from isthmus.core.contracts import Encoder, Features, FeatureStore, Images


def encode_once(encoder: Encoder, images: Images, store: FeatureStore | None = None) -> Features:
    """The features of all images, where equal keys stand for equal images.

    Only for an encoder in eval mode: dropout would draw for every occurrence of an image, and
    statistics over a batch count them. Gradients are those of all occurrences, summed. What had
    to be computed goes to `store`, where there is one.

    Features do not depend on the batch that they are computed in, but for rounding: some kernels
    add up in another order when there are more rows.
    """
    if not images.keys:
        features: Features = encoder(images)
        return features
    runs = _known(images)
    first = {key: number for number, key in reversed(list(enumerate(images.keys)))}
    if store is not None:
        for key in first.keys() - runs.keys():
            found = store.get(key)
            if found is not None:
                runs[key] = found.to(images.pixels.device)
    new = sorted(number for key, number in first.items() if key not in runs)
    if new:
        keys = [images.keys[number] for number in new]
        computed: Features = encoder(images.take(new))
        runs |= zip(keys, computed.runs(), strict=True)
        if store is not None:
            # In one piece: each way from the device waits for the encoder.
            host = Features(computed.values.detach().cpu(), computed.grids)
            store.put(dict(zip(keys, host.runs(), strict=True)))
    return Features(torch.cat([runs[key] for key in images.keys]), images.grids)


def _known(images: Images) -> dict[str, Tensor]:
    """Key -> features, of the images that were looked at before."""
    if images.known is None:
        return {}
    numbers = [number for number, crops in enumerate(images.crops) if not crops]
    known = Features(images.known, tuple(images.grids[number] for number in numbers))
    return dict(zip((images.keys[number] for number in numbers), known.runs(), strict=True))
