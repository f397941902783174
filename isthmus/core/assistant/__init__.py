"""A trained model that answers: what chat, generate, evaluate and serve stand on."""

from isthmus.core.assistant.assistant import Assistant, FullAnswer
from isthmus.core.assistant.classifier import Classifier
from isthmus.core.assistant.messages import Conversation, Message
from isthmus.core.assistant.opening import assistant_of, classifier_of, is_blind, load, name_of

__all__ = [
    "Assistant",
    "Classifier",
    "Conversation",
    "FullAnswer",
    "Message",
    "assistant_of",
    "classifier_of",
    "is_blind",
    "load",
    "name_of",
]
