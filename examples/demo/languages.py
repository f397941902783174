"""Words of three languages about scenes of digits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """Places in reading order, colours by their English name, and questions by kind."""

    places: tuple[str, str, str, str]
    colours: dict[str, str]
    questions: dict[str, str]


COLOURS = ("red", "green", "blue", "yellow", "pink", "white")

LANGUAGES = {
    "en": Language(
        places=("northwest", "northeast", "southwest", "southeast"),
        colours=dict(zip(COLOURS, COLOURS, strict=True)),
        questions={
            "digit": "Which digit is in the {place}?",
            "colour": "What colour is the digit in the {place}?",
            "colour_of": "What colour is the {digit}?",
            "where": "Where is the {digit}?",
            "count": "How many digits are there?",
        },
    ),
    "de": Language(
        places=("Nordwesten", "Nordosten", "Südwesten", "Südosten"),
        colours=dict(zip(COLOURS, ("rot", "grün", "blau", "gelb", "rosa", "weiß"), strict=True)),
        questions={
            "digit": "Welche Ziffer steht im {place}?",
            "colour": "Welche Farbe hat die Ziffer im {place}?",
            "colour_of": "Welche Farbe hat die {digit}?",
            "where": "Wo steht die {digit}?",
            "count": "Wie viele Ziffern sind es?",
        },
    ),
    "es": Language(
        places=("noroeste", "noreste", "suroeste", "sureste"),
        colours=dict(
            zip(COLOURS, ("rojo", "verde", "azul", "amarillo", "rosa", "blanco"), strict=True)
        ),
        questions={
            "digit": "¿Qué cifra hay en el {place}?",
            "colour": "¿De qué color es la cifra del {place}?",
            "colour_of": "¿De qué color es el {digit}?",
            "where": "¿Dónde está el {digit}?",
            "count": "¿Cuántas cifras hay?",
        },
    ),
}
"""Language code -> its words."""
