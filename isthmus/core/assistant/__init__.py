"""A trained model that answers: what chat, generate, evaluate and serve stand on."""

from isthmus.core.assistant.assistant import Assistant, FullAnswer
from isthmus.core.assistant.matcher import Matcher
from isthmus.core.assistant.messages import Conversation, Message
from isthmus.core.assistant.opening import assistant_of, is_blind, load, matcher_of, name_of

__all__ = [
    "Assistant",
    "Conversation",
    "FullAnswer",
    "Matcher",
    "Message",
    "assistant_of",
    "is_blind",
    "load",
    "matcher_of",
    "name_of",
]
