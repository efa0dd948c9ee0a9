"""The producer's story tells what is wrong with a text."""

import json

import pytest

from tests.faults.producer import Story, script

STORY = Story(20)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (STORY.text.replace("w00007 ", ""), "lost [7],"),
        (STORY.text.replace("w00007 ", "w00007 w00007 "), "twice [7],"),
        (STORY.text.replace("w00007 w00008 ", "w00008 w00007 "), "out of order [7],"),
        (STORY.text + "Ugh", "foreign 'Ugh'"),
        (STORY.text[:-7], "lost [19],"),
    ],
)
def test_a_changed_story(text: str, problem: str) -> None:
    with pytest.raises(AssertionError) as caught:
        STORY.assert_told(text)
    assert problem in str(caught.value)


def test_the_whole_story_and_its_beginning() -> None:
    STORY.assert_told(STORY.text)
    STORY.assert_begun(STORY.text[:30])
    with pytest.raises(AssertionError):
        STORY.assert_begun(STORY.text[1:])


def test_a_script_says_it_word_by_word() -> None:
    said, logged = json.loads(script(Story(3, 9), {"log": "x"}))
    assert said == {"say": "w00000 w00001 w00002 ", "chunk": 7, "interval_ms": 9}
    assert logged == {"log": "x"}
