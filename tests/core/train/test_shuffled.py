"""Dealing pictures out anew: everybody gets some, nobody the own ones."""

import random
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from isthmus.core.contracts import ImageSlot, Sample, Source, Turn
from isthmus.core.data.swapping import deal
from isthmus.core.train.shuffled import ShuffledPictures, picture_key

names = st.lists(st.integers(0, 12).map(str), min_size=0, max_size=2).map(tuple)


@settings(deadline=None, max_examples=200)
@given(keys=st.lists(names, max_size=40), seed=st.integers(0, 99))
def test_deal_is_a_permutation_that_gives_nobody_the_own_pictures(keys, seed):
    giver = deal(keys, seed)
    assert sorted(giver) == list(range(len(keys)))
    shared = Counter(keys)
    sizes = Counter(len(key) for key in keys)
    for index, other in enumerate(giver):
        assert len(keys[index]) == len(keys[other])
        most = max(n for key, n in shared.items() if len(key) == len(keys[index]))
        if keys[index] and 2 * most <= sizes[len(keys[index])]:
            assert keys[index] != keys[other]


def test_deal_follows_from_the_seed():
    keys = [(str(index),) for index in range(30)]
    assert deal(keys, 3) == deal(keys, 3) != deal(keys, 4)


class Captions(Source):
    """Five captions of each of three photos, and one sample without any."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> Sample:
        words = Turn("assistant", (f"caption {index}",))
        if index == 15:
            return Sample("15", (words,))
        user = Turn("user", (ImageSlot(0),))
        return Sample(str(index), (user, words), (Path(f"{index // 5}.jpg"),))

    @property
    def fingerprint(self) -> str:
        return "captions"


def test_words_stay_and_pictures_move():
    plain, mixed = Captions(), ShuffledPictures([Captions()], None, seed=1)
    assert len(mixed) == 16
    for index in range(15):
        assert mixed[index].turns == plain[index].turns
        assert mixed[index].images != plain[index].images
    assert mixed[15] == plain[15]
    assert Counter(mixed[i].images for i in range(15)) == Counter(
        plain[i].images for i in range(15)
    )


def test_limit_deals_among_the_first_alone():
    mixed = ShuffledPictures([Captions()], 10, seed=random.randrange(100))
    assert len(mixed) == 10
    assert {mixed[index].images[0].name for index in range(10)} == {"0.jpg", "1.jpg"}


def test_pictures_in_memory_are_told_apart_by_their_content():
    red, blue = Image.new("RGB", (2, 2), "red"), Image.new("RGB", (2, 2), "blue")
    keys = [
        picture_key(Sample("", (), (picture,)))
        for picture in (red, red.copy(), blue, b"a", b"a", b"b")
    ]
    assert keys[0] == keys[1] != keys[2]
    assert keys[3] == keys[4] != keys[5]
