"""Seeds differ from place to place and never from run to run."""

import random

import torch

from isthmus.core.train.seeds import derive, seed_draws


def test_every_place_has_its_own_seed():
    places = [
        (stage, step, micro, rank)
        for stage in range(2)
        for step in range(20)
        for micro in range(3)
        for rank in range(3)
    ]
    assert len({derive(7, *place) for place in places}) == len(places)
    assert derive(1, 23) != derive(12, 3)


def test_a_seed_is_the_same_in_every_process():
    # `printf 0/stage/1 | b2sum -l 64`, less its last bit.
    assert derive(0, "stage", 1) == 0xB0FB93431C17FD83 >> 1


def test_seeding_repeats_the_draws():
    seed_draws(5)
    first = (random.random(), torch.rand(3))
    seed_draws(5)
    assert first[0] == random.random()
    assert torch.equal(first[1], torch.rand(3))


def test_draws_are_those_of_torch_seeded_alike():
    seed_draws(5)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))
