"""`symbolic`: a teacher that says only what follows from captions and boxes, by rule.

It reads a request's brief and none of its words: no key, no network, no model, the same replies
for the same seed. What it knows of a scene is a list of facts, each with a question; the recipes
arrange them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from isthmus import hookimpl
from isthmus.core.contracts import ChatModel, ChatReply, ChatRequest, Exchange
from isthmus.core.scene import write_exchanges
from isthmus.errors import ChatRefused
from isthmus.plugins.chat_models.symbolic.fact import Fact
from isthmus.plugins.chat_models.symbolic.gist import gists, tints, told
from isthmus.plugins.chat_models.symbolic.places import places, spread
from isthmus.plugins.chat_models.symbolic.presence import absence, counts, presence, things
from isthmus.plugins.chat_models.symbolic.relations import heights, orders, sides, sizes
from isthmus.plugins.chat_models.symbolic.seen import Seen
from isthmus.plugins.chat_models.symbolic.sums import kinds, sums
from isthmus.plugins.chat_models.symbolic.thoughts import certainties, halves, lines, searches

VERSION = 1
"""Changes with what it says: replies of another version are asked for again."""
FAMILIES = (
    *(told, presence, counts, absence, things, tints, places, spread),
    *(sides, heights, sizes, orders, sums, kinds),
)
"""Of what a conversation is made."""
TURNS = (4, 7)
REPEATED = {"presence", "count", "several", "exactly"}
"""Topics that say the same of a category; a conversation has one of them."""


class Symbolic(ChatModel, name="symbolic"):
    """Answers the recipes `conversation`, `detail` and `reasoning` from a scene's annotation:
    what is there and what is not, counts, colours, places, relations, comparisons, sums."""

    class Config(ChatModel.Config):
        """Configuration of `symbolic`: there is nothing to set."""

    config: Config

    @property
    def reads_brief(self) -> bool:
        return True

    @property
    def structured(self) -> bool:
        return True

    def identity(self) -> dict[str, object]:
        return {"type": self.name, "version": VERSION}

    async def reply(self, request: ChatRequest) -> str:
        brief = request.brief
        if brief is None:
            raise ChatRefused("it answers briefs, not words; ask it through `isthmus synthesize`")
        if brief.recipe not in WRITERS:
            raise ChatRefused(f"it knows no recipe {brief.recipe!r}; it knows {', '.join(WRITERS)}")
        seen, rng = Seen(brief.scene), random.Random(brief.seed)  # noqa: S311
        if not seen.captions and not seen.groups:
            raise ChatRefused("there is nothing in the annotation that could be relied on")
        text = WRITERS[brief.recipe](seen, rng)
        return ChatReply(
            text, model=f"symbolic-{VERSION}", prompt_tokens=0, completion_tokens=0
        ).raw()


def conversation(seen: Seen, rng: random.Random) -> str:
    """Several turns: the gist first, then facts of different topics about different things."""
    chosen = list(gists(seen, rng))[-1:]
    most = rng.randint(*TURNS)
    found = _mixed([fact for family in FAMILIES for fact in family(seen, rng)], rng)
    asked = {text for fact in chosen for text in (fact.exchange.question, fact.exchange.answer)}
    said: set[tuple[str, tuple[str, ...]]] = set()
    for fact in found:
        topic = "presence" if fact.topic in REPEATED else fact.topic
        about = topic, tuple(sorted(fact.subjects))
        words = {fact.exchange.question, fact.exchange.answer}
        if len(chosen) < most and about not in said and not words & asked:
            said.add(about)
            asked |= words
            chosen.append(fact)
    return write_exchanges([fact.exchange for fact in chosen])


def detail(seen: Seen, rng: random.Random) -> str:
    """A description: captions, what there is, where it is, how it lies."""
    told = sorted(set(seen.captions), key=lambda caption: (-len(caption), caption))[:2]
    about: list[str] = [fact.statement for fact in things(seen, rng)]
    about += [fact.statement for fact in presence(seen, rng)] if not about else []
    where: list[str] = []
    for family, most in (
        (tints, 3),
        (places, 4),
        (spread, 2),
        (sides, 3),
        (heights, 2),
        (sizes, 1),
    ):
        facts = [f for f in family(seen, rng) if f.topic not in ("side", "height")]
        pairs: set[tuple[str, ...]] = set()
        kept = []
        for fact in rng.sample(facts, len(facts)):
            if tuple(sorted(fact.subjects)) not in pairs:
                pairs.add(tuple(sorted(fact.subjects)))
                kept.append(fact.statement)
        where += kept[:most]
    paragraphs = (" ".join(dict.fromkeys(each)) for each in ([*told, *about], where))
    return "\n\n".join(filter(None, paragraphs))


def reasoning(seen: Seen, rng: random.Random) -> str:
    """One question with its steps."""
    families = (orders, sums, kinds, lines, halves, searches)
    facts = [fact for family in families for fact in family(seen, rng) if fact.steps]
    if not facts or rng.random() < 0.1:
        facts = list(certainties(seen, rng))
    fact = _mixed(facts, rng)[0]
    answer = " ".join((*fact.steps, fact.exchange.answer))
    return write_exchanges([Exchange(fact.exchange.question, answer)])


def _mixed(facts: Sequence[Fact], rng: random.Random) -> list[Fact]:
    """In an order that has every topic once before any has its second, topics at random."""
    topics: dict[str, list[Fact]] = {}
    for fact in rng.sample(facts, len(facts)):
        topics.setdefault(fact.topic, []).append(fact)
    order = rng.sample(sorted(topics), len(topics))
    return list(_round_robin([topics[topic] for topic in order]))


def _round_robin(rows: Sequence[Sequence[Fact]]) -> Iterator[Fact]:
    for index in range(max((len(row) for row in rows), default=0)):
        yield from (row[index] for row in rows if index < len(row))


WRITERS: dict[str, Callable[[Seen, random.Random], str]] = {
    "conversation": conversation,
    "detail": detail,
    "reasoning": reasoning,
}
"""Recipe -> who writes its reply."""


@hookimpl
def register_chat_models(register: Callable[[type], None]) -> None:
    register(Symbolic)
