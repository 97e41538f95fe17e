from __future__ import annotations

import pytest

from preceptor.evaluate.language import language_of, strays

CALL = {
    "en": "Call your doctor if the symptoms get worse or do not improve within two days.",
    "es": "Llame a su médico si los síntomas empeoran o no mejoran en dos días.",
    "fr": "Appelez votre médecin si les symptômes ne s'améliorent pas dans les deux jours.",
    "de": "Rufen Sie Ihren Arzt an, wenn die Beschwerden nicht besser werden.",
    "it": "Chiami il medico se i sintomi non migliorano entro due giorni.",
    "pt": "Ligue para o seu médico se os sintomas não melhorarem em dois dias.",
    "nl": "Bel uw arts als de klachten niet beter worden met deze medicijnen.",
    "pl": "Zadzwoń do lekarza, jeśli objawy nie ustąpią w ciągu dwóch dni, bo może być to poważne.",
    "sv": "Ring din läkare om symtomen inte blir bättre och du har feber.",
    "tr": "Belirtiler iki gün içinde düzelmezse doktorunuzu arayın ve bir daha kontrol için gidin.",
    "script:CJK": "如果症状在两天内没有好转，请致电您的医生。",
    "script:CYRILLIC": "Позвоните врачу, если симптомы не исчезнут.",
    "script:ARABIC": "اتصل بطبيبك إذا لم تتحسن الأعراض",
    "none": "refill tablet doctor doctor clinic clinic refill blood pressure tablet refill",
}


@pytest.mark.parametrize(("language", "text"), CALL.items())
def test_a_sentence_is_told_by_its_commonest_words_or_its_script(language: str, text: str) -> None:
    assert language_of(text) == language


def test_an_answer_strays_when_it_leaves_the_language_of_its_prompt() -> None:
    english, spanish = (
        "What should I do about a fever at night?",
        "¿Qué debo hacer con la fiebre de mi hijo por la noche?",
    )
    assert not strays(english, CALL["en"])
    assert strays(english, CALL["es"])
    assert strays(english, CALL["none"])
    assert not strays(spanish, CALL["es"])
    assert strays(spanish, CALL["en"])


def test_what_is_too_short_to_tell_does_not_stray() -> None:
    assert language_of("Rest.") is None
    assert not strays("Fever?", "")
    assert not strays("Fever?", "Ibuprofen 400 mg.")
    assert not strays("Fever?", CALL["en"])  # a prompt too short to tell is taken for English
