"""Languages: the right code, a score within bounds, and the benefit of the doubt for what is wanted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.chunk.language import UNKNOWN, detect

TEXTS = {
    "en": "Measles is a highly contagious disease. It spreads through the air when an infected person "
    "coughs, and it can be prevented by a vaccine that children receive twice.",
    "de": "Masern sind eine hoch ansteckende Krankheit. Sie werden durch die Luft übertragen, wenn eine "
    "infizierte Person hustet, und können durch eine Impfung verhindert werden.",
    "es": "El sarampión es una enfermedad muy contagiosa. Se transmite por el aire cuando una persona "
    "infectada tose, y puede prevenirse con una vacuna que los niños reciben dos veces.",
    "ru": "Корь является очень заразной болезнью. Она передаётся по воздуху, когда больной человек кашляет.",
}


@pytest.mark.parametrize(("code", "text"), TEXTS.items())
def test_code_and_score(code, text):
    language = detect(text)
    assert language.code == code
    assert 0.3 < language.score < 1


def test_prose_scores_higher_than_a_list_of_names():
    names = (
        "Ohio Northern, East Stroudsburg, Harrisburg, Altoona, Wilkes-Barre, Scranton, Lehigh, Poconos, " * 2
    )
    assert detect(TEXTS["en"], ("en",)).score > detect(names, ("en",)).score


def test_a_wanted_language_that_is_nearly_as_close_is_taken():
    distance = (
        "Distance between Louisville, KY (SDF) and South Bend, IN (SBN)\nFlight distance from Louisville"
    )
    text = (
        distance + " to South Bend (Louisville International Airport \u2013 South Bend Regional Airport) "
    ) * 3
    closest = detect(text)
    wanted = detect(text, ("en",))
    assert closest.score >= wanted.score
    assert detect(TEXTS["de"], ("en",)).code == "de"
    assert detect(TEXTS["de"], ("en", "de")).code == "de"


def test_nothing_is_undetermined():
    assert detect("x = 1\n" * 100) == (UNKNOWN, 0.0)


@given(st.text(max_size=300), st.sampled_from([(), ("en",), ("en", "de")]))
@settings(max_examples=300, deadline=None)
def test_any_text_has_a_code_and_a_score(text, wanted):
    language = detect(text, wanted)
    assert language.code
    assert 0 <= language.score <= 1
