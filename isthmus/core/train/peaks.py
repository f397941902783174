"""How many operations a second a device can do at most: what MFU is a share of."""

from __future__ import annotations

import re

import torch

PEAKS = (
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("H200", 989e12),
    ("GH200", 989e12),
    ("H800", 989e12),
    ("H20", 148e12),
    ("B200", 2250e12),
    ("A100", 312e12),
    ("A800", 312e12),
    ("A40", 149.7e12),
    ("A10", 125e12),
    ("L40S", 362e12),
    ("L4", 121e12),
    ("MI300X", 1307e12),
)
"""Dense bf16 operations a second, as the makers' data sheets have them, by a word of the
device's name; the first that fits."""


def peak(device: torch.device, bf16: bool) -> float | None:
    """Operations a second that the device can do in this arithmetic; None where not known."""
    if device.type != "cuda" or not bf16:
        return None
    return peak_of(torch.cuda.get_device_name(device))


def peak_of(name: str) -> float | None:
    """The same by the device's name (`NVIDIA H100 80GB HBM3`)."""
    fitting = (value for words, value in PEAKS if re.search(rf"\b{words}\b", name))
    return next(fitting, None)
