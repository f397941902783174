"""A trained model that answers: what chat, generate, evaluate and serve stand on."""

from isthmus.core.assistant.assistant import Assistant, assistant_of, load, name_of
from isthmus.core.assistant.messages import Conversation, Message

__all__ = ["Assistant", "Conversation", "Message", "assistant_of", "load", "name_of"]
