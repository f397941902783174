"""What makes a sample of a reply, and what keeps it from being one."""

from isthmus.synthesize.quality.duplicates import Duplicates
from isthmus.synthesize.quality.grounding import Grounding
from isthmus.synthesize.quality.leaks import Leaks
from isthmus.synthesize.quality.wording import check_reply, check_wording

REASONS = {
    "refused": "the teacher's server refused the request",
    "gave_up": "every try failed",
    "unasked": "not asked yet",
    "truncated": "the reply was cut off at max_tokens",
    "refusal": "the teacher would not",
    "unparsable": "the reply is not in the form that was asked for",
    "turn_order": "questions and answers do not alternate",
    "empty_answer": "a question or an answer without words",
    "repeated": "a question or an answer stands twice, or a phrase over and over",
    "mentions_source": "it speaks of captions, boxes or given information",
    "coordinates": "numbers of a box are in it",
    "placeholder": "<image> or a mark of turns is in it",
    "language": "not in the language that was asked for",
    "too_long": "an answer is longer than wanted, or there are too many",
    "hallucinated": "an object that neither boxes nor captions have",
    "miscounted": "more of an object than there are boxes",
    "suspicious": "the scene's captions hold orders, marks of turns or markup",
    "image": "the picture is damaged, or its size is not the annotation's",
    "duplicate": "the same words are in an earlier sample",
    "near_duplicate": "nearly the same words are in an earlier sample",
    "leaked_image": "the image is one of a benchmark's",
    "leaked_question": "a question is one of a benchmark's",
}
"""Word under which a rejection is counted -> what it means."""

__all__ = ["REASONS", "Duplicates", "Grounding", "Leaks", "check_reply", "check_wording"]
