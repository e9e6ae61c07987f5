"""Plain everyday sentences from frames and slots: what reviews and sitcoms hardly contain.

Requests, plans and facts that are neutral whatever words of feeling they mention, good and bad news without an
adjective, idioms, negations and contrasts. Their labels are ours, by construction; they are for training alone, and
what measures plain sentences has to be written by somebody else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from contract.labels import EMOTIONS, POLARITIES
from training.data.labelled_texts import LabelledText, one_hot

SLOTS: Final[dict[str, tuple[str, ...]]] = {
    "who": ("my sister", "my brother", "our neighbour", "my boss", "a colleague", "my friend", "the teacher", "Anna"),
    "thing": (
        "the report",
        "the contract",
        "my keys",
        "my phone",
        "the tickets",
        "the charger",
        "your notes",
        "the form",
    ),
    "time": ("at three", "tomorrow", "on Friday", "next week", "this evening", "in the morning", "later", "at noon"),
    "past": ("yesterday", "last week", "this morning", "on Monday", "last night", "an hour ago"),
    "place": ("the station", "the office", "the library", "the airport", "the shop", "the second floor", "school"),
    "service": ("the food", "the service", "the hotel", "the film", "the course", "the app", "the flight", "the staff"),
    "event": ("the concert", "the holidays", "your party", "the match", "our trip", "the summer"),
    "success": (
        "passed my driving test",
        "got the flat",
        "won the match",
        "finished my thesis",
        "got a pay rise",
        "made it",
    ),
    "failure": (
        "failed my driving test",
        "lost my job",
        "lost the match",
        "missed my flight",
        "broke my arm",
        "crashed the car",
    ),
    "good": ("great", "wonderful", "lovely", "excellent", "really good", "amazing", "perfect", "so much fun"),
    "bad": ("dreadful", "awful", "horrible", "really bad", "disappointing", "a disaster", "useless", "a mess"),
    "loss": ("my grandmother", "my dog", "an old friend", "our cat", "my uncle"),
    "animal": ("a spider", "that dog", "the storm", "the noise downstairs", "the dark", "what he might do"),
}
FRAMES: Final[dict[tuple[str, str, float], tuple[str, ...]]] = {
    ("neutral", "neutral", 0.0): (
        "Could you send me {thing}, please?",
        "Can you tell me how to get to {place}?",
        "Please bring {thing} {time}.",
        "Where did you put {thing}?",
        "Do you know where {place} is?",
        "What time does it start?",
        "The meeting is {time}.",
        "I will be at {place} {time}.",
        "{who} called {past}.",
        "I left {thing} at {place} {past}.",
        "{who} works at {place}.",
        "We can talk about it {time}.",
        "I am going to {place} {time}.",
        "Let me check and call you back {time}.",
        "There are two {place_word} near the river.",
        "It takes about twenty minutes to {place}.",
        "Did {who} say anything about {thing}?",
        "Is {service} included in the price?",
        "I have not decided yet about {event}.",
        "Turn left after {place} and go straight on.",
        "How do you feel about it?",
        "Are you happy with that, or should I change it?",
        "Is anything wrong?",
        "Would you like some coffee?",
        "Can I help you with {thing}?",
        "I need to buy milk and bread {time}.",
        "My number ends in four seven two.",
        "Could you repeat that, please?",
        "I'm just calling about {thing}.",
        "It's about ten degrees outside.",
        "He didn't say whether he was coming.",
        "It was neither good nor bad.",
        "{service} was okay, nothing special.",
        "Hello, this is {who_name} speaking.",
        "I usually get up at seven.",
    ),
    ("positive", "happy", 0.7): (
        "I {success}!",
        "I just {success}, can you believe it?",
        "We finally did it.",
        "I can't wait for {event}!",
        "I'm looking forward to {event}.",
        "{service} was {good}.",
        "{service} couldn't have been better.",
        "I've never been happier.",
        "Thank you so much, you made my day.",
        "Thanks a lot for {thing}, that was very kind of you.",
        "That's {good}, well done!",
        "We had {good_time} at {event}.",
        "I'm over the moon about {event}.",
        "Congratulations on {event_own}!",
        "You did a brilliant job.",
        "It went like a dream.",
        "Everything worked out in the end.",
        "I love it here.",
        "No complaints at all, {service} was {good}.",
        "I was afraid it would be bad, but {service} was {good}.",
        "It looked awful at first, but it turned out {good}.",
        "I don't hate it, I actually love it.",
        "Not bad at all, I really enjoyed it.",
        "{who} is feeling much better now.",
        "The doctor says everything is fine.",
    ),
    ("positive", "neutral", 0.35): (
        "That sounds good to me.",
        "{service} was not bad.",
        "Thanks, that helps.",
        "Thank you for {thing}.",
        "Yes, that would be nice.",
        "I like {place}.",
        "No problem, take your time.",
        "It was better than I expected.",
    ),
    ("positive", "surprise", 0.6): (
        "Wow, I didn't expect that, how lovely!",
        "You came all this way for me? That's {good}!",
        "I can't believe I {success}!",
        "Oh my God, this is {good}!",
    ),
    ("negative", "sad", -0.65): (
        "I {failure}.",
        "{loss} died {past}.",
        "I miss {loss} every day.",
        "I feel so alone since {past_long}.",
        "I've been crying since {past_long}.",
        "Nothing I do seems to matter.",
        "I'm sorry, I have bad news.",
        "{who} had to go to hospital {past}.",
        "It breaks my heart.",
        "I wish I had stayed at home.",
        "They told me it's over.",
        "I'm not happy here any more.",
        "I thought we would be friends, but she never called.",
    ),
    ("negative", "angry", -0.65): (
        "This is the third time {thing} went missing!",
        "I've been waiting for two hours and nobody came.",
        "{service} was {bad} and I want my money back.",
        "How dare you talk to me like that!",
        "I'm sick and tired of this.",
        "Stop lying to me.",
        "{who} broke {thing} and didn't even apologise.",
        "You never listen to me.",
        "That's not fair, I did all the work.",
        "It drives me up the wall.",
        "They charged me twice and won't answer my calls.",
        "I can't stand {who} any more.",
        "Get out and leave me in peace!",
    ),
    ("negative", "neutral", -0.5): (
        "{service} was {bad}.",
        "{service} could have been better.",
        "I would not recommend it.",
        "It's not good enough.",
        "The rooms are nice, but {service} was {bad}.",
        "It started well, but {service} was {bad}.",
        "I wanted to like it, but I didn't.",
        "It doesn't work as it should.",
        "Nice idea, but it never worked.",
        "What a waste of time.",
        "{service} left a lot to be desired.",
        "I'm afraid that won't work.",
    ),
    ("negative", "fear", -0.6): (
        "I'm scared of {animal}.",
        "I'm worried that I will lose my job.",
        "I don't dare to go home.",
        "Please don't leave me here alone.",
        "What if something happened to {who}?",
        "My hands were shaking when I heard {animal}.",
        "I'm so nervous about {event} that I can't sleep.",
    ),
    ("negative", "disgust", -0.6): (
        "That smells rotten.",
        "There was a hair in my soup.",
        "The way he talks about women is disgusting.",
        "I feel sick just looking at it.",
        "{service} was filthy, I left at once.",
        "It makes my skin crawl.",
    ),
    ("negative", "surprise", -0.4): (
        "What? You {failure_you}?",
        "I can't believe {who} would do that to me.",
        "They cancelled {event}? Just like that?",
    ),
}
_MORE: Final[dict[str, tuple[str, ...]]] = {
    "place_word": ("shops", "schools", "bridges", "car parks"),
    "who_name": ("Anna", "Tom", "Maria", "Mr Lee"),
    "good_time": ("a great time", "so much fun", "a wonderful day"),
    "event_own": ("your new job", "the baby", "your wedding", "your exam results"),
    "past_long": ("she left", "last summer", "we moved", "the funeral"),
    "failure_you": ("lost it", "forgot the baby", "crashed the car", "told them everything"),
}


@dataclass(frozen=True)
class Frame:
    """A sentence with slots, and its labels."""

    text: str
    polarity: str
    emotion: str
    score: float


def frames() -> Iterator[Frame]:
    """Yield every frame."""
    for (polarity, emotion, score), texts in FRAMES.items():
        for text in texts:
            yield Frame(text, polarity, emotion, score)


def plain_texts(seed: int = 0, fills: int = 6) -> list[LabelledText]:
    """Return each frame with up to `fills` different fillings, in an order and with fillings that the seed decides."""
    generator = np.random.default_rng(seed)
    texts: dict[str, LabelledText] = {}
    for frame in frames():
        for _ in range(fills):
            text = _filled(frame.text, generator)
            texts[text] = LabelledText(
                text, "plain", one_hot(frame.polarity, POLARITIES), one_hot(frame.emotion, EMOTIONS), frame.score
            )
    return [list(texts.values())[i] for i in generator.permutation(len(texts))]


def _filled(frame: str, generator: np.random.Generator) -> str:
    words = {
        slot: choices[int(generator.integers(len(choices)))]
        for slot, choices in (SLOTS | _MORE).items()
        if "{" + slot + "}" in frame
    }
    text = frame.format(**words)
    return text[0].upper() + text[1:]
