"""Numbers that follow from keys alone."""

from __future__ import annotations

import torch

from isthmus.core.model.mining import gumbel, uniform

SALT = torch.tensor(0)
HIGHEST = ((452, 1052), (2301, 2399), (3025, 1014))
"""Keys of which every bit that is looked at is set, one more than is."""


def test_no_number_is_one_be_all_its_bits_set():
    for row, column in HIGHEST:
        keys = torch.tensor([row]), torch.tensor([column])
        number = float(uniform(*keys, SALT))
        assert 0.9999998 < number < 1
        assert int(torch.tensor(number) * 30522) == 30521  # a row of BERT's word table
        assert gumbel(*keys, SALT).isfinite()


def test_numbers_are_spread_evenly_and_the_same_every_time():
    keys = torch.arange(400), torch.arange(500)
    numbers = uniform(*keys, SALT)
    counts = numbers.flatten().histc(10, 0, 1)
    assert ((counts / numbers.numel() - 0.1).abs() < 0.003).all()
    assert torch.equal(numbers, uniform(*keys, SALT))
    assert not torch.equal(numbers, uniform(*keys, SALT + 1))
