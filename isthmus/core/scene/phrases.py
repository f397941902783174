"""Noun phrases of captions, by lists of closed words and by endings; no model is needed.

A phrase is a run of words between words that are in none: articles, prepositions, pronouns, forms
of `be`, common verbs, adverbs. Participles belong to it before a noun (`a parked car`) and end it
behind one (`a car parked`). It has no article or number, and plurals stay as they are. A parser
would find more; what is found is the same in every process and version.
"""

from __future__ import annotations

import re

DETERMINERS = {
    *("a", "an", "the", "this", "that", "these", "those", "some", "any", "no", "each", "every"),
    *("another", "other", "both", "all", "many", "few", "several", "various", "multiple", "more"),
    *("my", "your", "his", "her", "its", "our", "their", "one", "two", "three", "four", "five"),
    *("six", "seven", "eight", "nine", "ten", "eleven", "twelve", "dozen", "hundred"),
}
CLOSED = {
    *("of", "in", "on", "at", "by", "to", "from", "with", "without", "for", "near", "next"),
    *("beside", "besides", "behind", "between", "under", "underneath", "over", "above", "below"),
    *("against", "along", "across", "around", "through", "into", "onto", "off", "out", "up"),
    *("down", "inside", "outside", "among", "towards", "toward", "past", "during", "after"),
    *("before", "about", "as", "like", "than", "upon", "within", "per", "via", "until", "since"),
    *("and", "or", "but", "nor", "so", "while", "when", "where", "because", "if", "though"),
    *("he", "she", "it", "they", "we", "you", "i", "him", "them", "us", "me", "who", "which"),
    *("whose", "what", "there", "here", "someone", "something", "each", "himself", "itself"),
    *("is", "are", "was", "were", "be", "been", "being", "am", "has", "have", "had", "having"),
    *("do", "does", "did", "can", "could", "will", "would", "may", "might", "must", "should"),
    *("not", "very", "too", "also", "just", "together", "away", "back", "then", "now", "only"),
    *("still", "almost", "apart", "well", "how", "why", "again", "ago", "ever", "never", "s"),
}
VERBS = {
    *("sit", "stand", "ride", "hold", "wear", "walk", "play", "look", "run", "jump", "eat"),
    *("lie", "lay", "fly", "lean", "hang", "swim", "carry", "watch", "talk", "smile", "show"),
    *("take", "make", "get", "go", "come", "give", "use", "see", "cut", "put", "throw", "catch"),
    *("hit", "swing", "drive", "pull", "push", "pose", "prepare", "try", "read", "sleep"),
    *("cross", "wait", "feature", "contain", "include", "appear", "perform", "attend", "fill"),
    *("sat", "stood", "rode", "held", "wore", "ran", "ate", "flew", "lay", "hung", "took"),
    *("made", "got", "went", "came", "gave", "seen", "worn", "shown", "taken", "thrown", "set"),
}
ADJECTIVES = {
    *("red", "green", "blue", "yellow", "orange", "white", "black", "brown", "gray", "grey"),
    *("pink", "purple", "golden", "silver", "big", "large", "small", "little", "tall", "short"),
    *("long", "old", "young", "new", "open", "empty", "full", "beautiful", "colorful", "bright"),
    *("dark", "wooden", "dirty", "clean", "wet", "dry", "happy", "sunny", "cloudy", "busy"),
    *("round", "high", "low", "wide", "close", "different", "same", "ready", "able", "good"),
}
"""Without a noun behind them they are no phrase."""
NOUNS = {
    *("building", "ceiling", "clothing", "painting", "wedding", "evening", "morning", "king"),
    *("ring", "wing", "string", "spring", "thing", "railing", "sibling", "awning", "crossing"),
    *("swing", "sling", "duckling", "icing", "pudding", "stocking", "earring", "bed", "shed"),
    *("sled", "seed", "weed", "speed", "breed", "steed", "family", "butterfly", "belly", "jelly"),
    *("fly", "lily", "assembly", "rally", "trolley", "something"),
}
"""What has a verb's or an adverb's ending, and is none."""
TOKEN = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*|[^\w\s]")
START, DETERMINER, OTHER = range(3)


def noun_phrases(text: str) -> list[str]:
    """The phrases of a text, in order and as often as they are there, in small letters."""
    found: list[str] = []
    run: list[str] = []
    before = START
    for word in (*TOKEN.findall(text.lower()), "."):
        kind = _kind(word, run, before)
        if kind is None:
            run.append(word)
            continue
        if any(each not in ADJECTIVES for each in run):
            found.append(" ".join(run))
        run, before = [], kind
    return found


def _kind(word: str, run: list[str], before: int) -> int | None:
    """What ends a run here; None for a word that belongs to it."""
    if word in DETERMINERS or word.isdigit():
        return DETERMINER
    if word in CLOSED or not word[0].isalpha():
        return OTHER
    plain = word.removesuffix("s")
    if run and (word in VERBS or plain in VERBS or plain.removesuffix("e") in VERBS):
        return OTHER
    if word in NOUNS or plain in NOUNS or len(word) < 5:
        return None
    if word.endswith("ly"):
        return OTHER
    if word.endswith(("ing", "ed")) and (run or before == OTHER):
        # Behind a noun or a form of `be` it is what somebody does; before a noun it describes it.
        return OTHER if before == OTHER or any(each not in ADJECTIVES for each in run) else None
    return None
