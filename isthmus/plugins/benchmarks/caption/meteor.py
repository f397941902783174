"""METEOR 1.5 (Denkowski and Lavie 2014): its own Java program matches the words, we add up.

What it prints of a caption are counts, and the METEOR of a whole corpus is made of their sums:
so it gets intervals as every other measure does.
"""

from __future__ import annotations

import shutil
import subprocess
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

from isthmus.errors import InputError, WorkError

JAR = "meteor-1.5.jar"
PARAPHRASES = "data/paraphrase-en.gz"
MEMORY = "-Xmx2G"

ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
"""Weight of recall, shape and weight of the penalty for fragments, weight of content words: as
tuned for English."""
WEIGHTS = (1.0, 0.6, 0.8, 0.6)
"""Of words that are equal, have one stem, are synonyms, are paraphrases."""
FIELDS = 23
"""Numbers that the program prints of a caption."""


class Meteor:
    """The running program; starting it takes seconds, since it reads its paraphrases."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        java = shutil.which("java")
        if java is None:
            raise InputError("METEOR is a Java program, and there is no `java` on this machine")
        for name in (JAR, PARAPHRASES):
            if not (folder / name).exists():
                raise InputError(f"meteor: {folder} has no {name}; give the folder of METEOR 1.5")
        command = [java, MEMORY, "-jar", JAR, "-", "-", "-stdio", "-l", "en", "-norm"]
        self._program = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )
        self.close = weakref.finalize(self, _end, self._program)

    def counts(self, words: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        """What METEOR is made of, of one caption; all 0 where it has no words."""
        if not words:
            return weighed([0.0] * FIELDS)
        line = " ||| ".join(("SCORE", *map(" ".join, references), " ".join(words)))
        program = self._program
        try:
            program.stdin.write(f"{line}\n")  # type: ignore[union-attr]
            program.stdin.flush()  # type: ignore[union-attr]
            found = [float(n) for n in program.stdout.readline().split()]  # type: ignore[union-attr]
        except (OSError, ValueError) as error:
            raise WorkError(f"METEOR failed at {' '.join(words)!r:.80}: {error}") from error
        if len(found) != FIELDS:
            raise WorkError(f"METEOR gave up at {' '.join(words)!r:.80}")
        return weighed(found)


def meteor(totals: Mapping[str, float]) -> float:
    """METEOR of the whole, 0 to 1."""
    own, theirs = totals["meteor.own"], totals["meteor.theirs"]
    if not own or not theirs:
        return 0.0
    precision, recall = own / totals["meteor.length"], theirs / totals["meteor.reference"]
    f = precision * recall / (ALPHA * precision + (1 - ALPHA) * recall)
    fragments = totals["meteor.chunks"] / totals["meteor.words"]
    return f * (1 - GAMMA * fragments**BETA)


def weighed(found: Sequence[float]) -> dict[str, float]:
    """What METEOR is made of, from the program's numbers of a caption: lengths and matches, with
    content words and function words weighed. Matches come four by four, content words here and
    in the reference, function words here and there."""
    # A caption that is its reference word for word is no fragment of it: so the program sums.
    chunks = 0.0 if found[20] == 1 and tuple(found[21:]) == tuple(found[:2]) else found[20]
    own = theirs = 0.0
    for weight, at in zip(WEIGHTS, range(4, 20, 4), strict=True):
        here, there, small_here, small_there = found[at : at + 4]
        own += weight * (DELTA * here + (1 - DELTA) * small_here)
        theirs += weight * (DELTA * there + (1 - DELTA) * small_there)
    return {
        "meteor.own": own,
        "meteor.theirs": theirs,
        "meteor.length": DELTA * (found[0] - found[2]) + (1 - DELTA) * found[2],
        "meteor.reference": DELTA * (found[1] - found[3]) + (1 - DELTA) * found[3],
        "meteor.chunks": chunks,
        "meteor.words": (found[21] + found[22]) / 2,
    }


def _end(program: subprocess.Popen[str]) -> None:
    program.kill()
    with program:
        pass
