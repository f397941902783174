"""COCO's 80 objects and the words that captions have for them, and finding them in a text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

NAMES = """
    person: man woman boy girl child kid baby toddler guy lady people men women children adult
        player rider skier surfer skateboarder snowboarder pedestrian worker waiter chef farmer
        cowboy soldier policeman policewoman fireman firefighter passenger driver tourist student
    bicycle: bike cycle
    car: automobile suv sedan jeep taxi cab minivan hatchback convertible limousine
    motorcycle: motorbike moped scooter motor_bike motor_cycle dirt_bike
    airplane: plane jet airliner aircraft jetliner biplane seaplane air_plane aeroplane
    bus: minibus double_decker trolley school_bus
    train: locomotive tram subway passenger_train freight_train
    truck: pickup lorry hauler firetruck fire_truck fire_engine
    boat: ship sailboat canoe kayak ferry rowboat yacht speedboat gondola motorboat
    traffic_light: stop_light street_light traffic_signal stoplight
    fire_hydrant: hydrant
    stop_sign:
    parking_meter:
    bench: pew
    bird: pigeon seagull duck goose geese owl parrot swan hawk eagle ostrich pelican penguin robin
        crow finch peacock flamingo cockatoo woodpecker heron gull rooster hen
    cat: kitten kitty
    dog: puppy puppies hound terrier poodle retriever bulldog dachshund labrador beagle husky pug
    horse: pony ponies foal colt mare stallion
    sheep: lamb ram ewe
    cow: cattle calf calves bull ox oxen heifer
    elephant:
    bear: panda grizzly polar_bear
    zebra:
    giraffe:
    backpack: knapsack rucksack
    umbrella: parasol
    handbag: purse wallet
    tie: necktie bow_tie bowtie
    suitcase: luggage suit_case briefcase
    frisbee:
    skis: ski
    snowboard:
    sports_ball: ball baseball football basketball soccer_ball tennis_ball volleyball
    kite:
    baseball_bat:
    baseball_glove: mitt
    skateboard:
    surfboard: longboard skimboard boogie_board
    tennis_racket: racket racquet
    bottle:
    wine_glass: wineglass goblet
    cup: mug
    fork:
    knife: knives
    spoon:
    bowl:
    banana:
    apple:
    sandwich: burger hamburger cheeseburger
    orange:
    broccoli:
    carrot:
    hot_dog: hotdog
    pizza:
    donut: doughnut bagel
    cake: cupcake cheesecake
    chair: seat stool armchair recliner
    couch: sofa loveseat futon
    potted_plant: houseplant flowerpot
    bed: mattress bunk
    dining_table: table desk countertop
    toilet: urinal commode toilet_seat
    tv: television tv_set
    laptop: laptop_computer notebook_computer
    mouse: computer_mouse
    remote: remote_control
    keyboard:
    cell_phone: cellphone mobile_phone smartphone phone
    microwave: microwave_oven
    oven: stove stovetop stove_top_oven
    toaster:
    sink: washbasin
    refrigerator: fridge
    book:
    clock:
    vase:
    scissors:
    teddy_bear: teddy stuffed_bear
    hair_drier: hairdryer hair_dryer
    toothbrush:
"""
"""Object: other words for it; `_` stands for a space. Our own list, not CHAIR's."""

COCO = tuple(name.replace("_", " ") for name in re.findall(r"^    (\w+):", NAMES, re.M))
"""COCO's 80 categories."""

NOTHING = """
    home_plate train_track train_tracks train_station bus_stop bus_station car_park hot_air_balloon
    orange_juice apple_pie banana_bread bird_house cat_food dog_food dog_house boat_house
    table_cloth table_tennis baseball_field baseball_game football_field football_game
    basketball_court basketball_game baseball_cap clock_tower watch_tower book_shelf ball_park
"""
"""Names of other things, with the word for an object in them."""

WORD = re.compile(r"[a-z]+")


def object_words(synonyms: str = "") -> dict[str, str]:
    """Words -> object; an empty object is none. `synonyms`, where given, is CHAIR's own list:
    a line for each object, its name first, with commas between."""
    words: dict[str, str] = {}
    for name, others in _listed(synonyms):
        for each in (name, *others):
            for form in (each, *_plurals(each)):
                words.setdefault(form, name)
    for phrase in NOTHING.split():
        words.setdefault(phrase.replace("_", " "), "")
    return words


def _listed(synonyms: str) -> Iterator[tuple[str, list[str]]]:
    if synonyms.strip():
        for line in filter(str.strip, synonyms.lower().splitlines()):
            name, *others = (word.strip() for word in line.split(","))
            yield name, others
        return
    for name, others in re.findall(r"(\w+):((?:\s+\w+\b(?!:))*)", NAMES):
        yield name.replace("_", " "), [word.replace("_", " ") for word in others.split()]


def _plurals(words: str) -> Iterator[str]:
    if words.endswith(("s", "x", "ch", "sh")):
        yield f"{words}es"
    elif words.endswith("y") and words[-2:-1] not in "aeou":
        yield f"{words[:-1]}ies"
    else:
        yield f"{words}s"


def objects_in(text: str, words: Mapping[str, str]) -> list[str]:
    """The objects that a text names, in order and as often as it names them; of names within
    names the longest is meant, so that a hot dog is no dog."""
    found: list[str] = []
    tokens = WORD.findall(text.lower())
    at = 0
    while at < len(tokens):
        for length in (3, 2, 1):
            phrase = " ".join(tokens[at : at + length])
            if phrase in words:
                found += [words[phrase]] * bool(words[phrase])
                at += length
                break
        else:
            at += 1
    return found
