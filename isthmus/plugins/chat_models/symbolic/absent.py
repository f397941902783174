"""Which categories are surely not in a scene.

No box is not enough: captions may name the thing, or something that it hides in. A drinking glass
is a cup to one annotator and a wine glass to another; a kitchen has an oven somewhere.
"""

from __future__ import annotations

import re

from isthmus.core.scene import objects_in
from isthmus.plugins.chat_models.symbolic.seen import Seen

ALIKE = """
    cup, wine glass, bottle, bowl, vase: glass drink beverage water wine beer coffee tea juice mug
        milk soda can jar pitcher dishes food kitchen restaurant meal
    couch, chair, bench, bed: seat sitting sits seated sofa room furniture lounge office
    car, truck, bus, motorcycle, bicycle: vehicle vehicles traffic street road parking highway city
        intersection drive driving ride riding bike bikes rider racing
    train: rail tracks track railroad railway station engine
    boat: water harbor ocean lake river sea marina dock sail sailing ship vessel
    handbag, backpack, suitcase: bag bags luggage baggage purse case travel airport
    dining table: table desk counter food meal plate restaurant kitchen dish dinner lunch breakfast
    oven, microwave, refrigerator, toaster, sink: kitchen stove appliance appliances bathroom
    toilet, sink, toothbrush, hair drier: bathroom restroom washroom shower tub
    fork, knife, spoon: utensil utensils silverware cutlery plate food meal chopsticks eating
    cake, donut, sandwich, pizza, hot dog: food dessert pastry pastries bread bun meal snack bakery
    banana, apple, orange: fruit fruits produce food market
    broccoli, carrot: vegetable vegetables veggies salad food produce
    tv, laptop, keyboard, mouse: screen monitor computer computers office desk electronics video
        television game games
    cell phone, remote: phone controller wii device game talking
    sheep, cow, horse, bear, zebra, giraffe, elephant, dog, cat: animal animals cattle herd pet
        creature wildlife zoo farm puppy carriage lamb calf foal
    bird: birds flock animal animals wildlife zoo nest chicken
    teddy bear, bear: stuffed animal animals toy toys plush doll
    person: man woman hand hands someone crowd audience team family couple group player driver
        rider fans everyone somebody baby girl boy kid worker passenger police army band male
        female chef wearing holding
    potted plant, vase: plant plants flower flowers bouquet leaves
    skis, snowboard: ski skier skiing snow snowboarder snowboarding slope
    skateboard: skate skater skating ramp skateboarder skateboarding board
    surfboard: surf surfer surfing wave board ocean beach
    baseball bat, baseball glove, sports ball: baseball ball game player sport sports pitcher batter
        soccer tennis field court match hitter swing
    tennis racket: tennis player racquet court
    tie: suit dressed formal uniform
    umbrella: rain umbrellas parasol beach
    book: books shelf shelves library reading desk magazine
    clock: time tower watch
    traffic light, stop sign, parking meter, fire hydrant: sign light street intersection city road
        signs corner signal sidewalk hydrant
    scissors: cutting craft
    kite: kites flying sky
    frisbee: disc disk throwing
    airplane: plane sky aircraft runway airport flying jet
"""
"""Categories that are taken for each other, and words that they may hide behind. Own list."""


def _table() -> dict[str, tuple[set[str], set[str]]]:
    made: dict[str, tuple[set[str], set[str]]] = {}
    for line in re.split(r"\n(?=    \w)", ALIKE.strip("\n")):
        names, _, words = line.partition(":")
        alike = {name.strip() for name in names.split(",")}
        for name in alike:
            others, hints = made.setdefault(name, (set(), set()))
            others |= alike - {name}
            hints |= set(words.split())
    return made


TABLE = _table()


def absent(seen: Seen) -> list[str]:
    """Categories of the vocabulary that are not there, in its order."""
    if not seen.groups:
        return []
    there = {seen.object(category) for category in seen.groups}
    said = {token for tokens in seen.tokens for token in tokens}
    said |= {token.removesuffix("s") for token in said}
    for caption in seen.scene.captions:
        there |= set(objects_in(caption, seen.words))
    near = said | {word for category in there for word in category.split()}
    return [
        category
        for category in seen.scene.vocabulary
        if category not in seen.groups and _surely(seen.object(category), there, said, near)
    ]


def _surely(name: str, there: set[str], said: set[str], near: set[str]) -> bool:
    others, hints = TABLE.get(name, (set(), set()))
    words = {each for word in name.split() for each in (word, word.removesuffix("s"))}
    return name not in there and not words & near and not others & there and not hints & said
