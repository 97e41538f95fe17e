# ruff: noqa: E501 - patterns and word lists read better unbroken
"""Normalized text in, findings of dates finer than a year and of ages over 89 out.

Durations, bare years, seasons and weekdays stay; `6/7` is a date only where a word says so, never where it may be a
score, a strength or a blood pressure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from preceptor.privacy.identifiers import Finding, Kind

_I = re.IGNORECASE
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    r"nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_WEEKDAY = r"(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?\b\.?,? (?:the )?)?"
_DAY = r"(?:3[01]|[12]\d|0?[1-9])(?:st|nd|rd|th)?"
_YEAR = r"(?:(?:1[89]|20)\d\d|'\d\d)"
_TIME = r"(?:(?:,? (?:at )?|T)\d{1,2}[:h]\d{2}(?::\d{2}(?:\.\d{1,6})?)?(?: ?[ap]\.?m\.?)?(?:Z|[+-]\d{2}:?\d{2})?)?"
_ORDINAL = (
    r"(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|thirteenth|fourteenth|fifteenth|"
    r"sixteenth|seventeenth|eighteenth|nineteenth|twentieth|thirtieth|twenty[- ](?:first|second|third|fourth|fifth|sixth|"
    r"seventh|eighth|ninth)|thirty[- ]first)"
)
_LONG = (
    rf"\b{_WEEKDAY}{_MONTH}[ -]?{_DAY}\b(?!/|\.\d| ?(?:mg|mcg|ml|units?|%))(?:(?:,? |, ?|[-/] ?){_YEAR}\b)?{_TIME}",
    rf"\b{_WEEKDAY}{_DAY}[ -]?(?:of )?{_MONTH}(?:(?:,? |[-/]|){_YEAR}\b)?{_TIME}",
    rf"\b{_MONTH}(?:,? | of |[-/]){_YEAR}\b",
    rf"\b(?:the )?{_ORDINAL} (?:of )?{_MONTH}(?:,? {_YEAR}\b)?",
    rf"\b{_MONTH} (?:the )?{_ORDINAL}\b(?:,? {_YEAR}\b)?",
)
_ISO = r"(?<![\w./-])(?:1[89]|20)\d\d([-/.])(?:1[0-2]|0?[1-9])\1(?:3[01]|[12]\d|0?[1-9])(?!\d|[-/]\d)" + _TIME
_NUMERIC = (
    r"(?<![\w./-])(?:(?:1[0-2]|0?[1-9])([-/.])(?:3[01]|[12]\d|0?[1-9])|(?:3[01]|[12]\d|0?[1-9])([-/.])(?:1[0-2]|0?[1-9]))"
    r"(?:(?:\1|\2)(?:(?:1[89]|20)\d\d|'?\d\d))(?!\d|[-/]\d|\.\d|%)" + _TIME
)
_MONTH_YEAR = r"(?<![\w./-])(?:1[0-2]|0?[1-9])[/-](?:19|20)\d\d(?![\w/-])"
_FULL = tuple(re.compile(pattern, _I) for pattern in (*_LONG, _ISO, _NUMERIC, _MONTH_YEAR))
_DATE_WORD = (
    r"(?:on|since|dated?|seen|visit(?:ed)?|admitted|admission|discharged?|dob|born|scheduled|appointment|appt|until|till|by|"
    r"from|through|thru|before|after|last|next|follow-?up|f/u|surgery|procedure|started|starting|began|stopped|due|d/c'?d?|"
    r"drawn|collected|week of|as of|edd|lmp|adm|dc|to|between|and|labs?|imaging|called|returns?|back|around|today|tomorrow|"
    r"yesterday|presented|tested|vaccinated|deceased|died|expired|dod|doa|filled|refilled|signed|printed|received|sent)"
)
_SHORT = re.compile(
    rf"\b(?P<word>{_DATE_WORD})[:,]?(?: (?:the|on|was|is|about|of|visit|date))?[ (]{{1,2}}"
    r"(?P<value>(?:1[0-2]|0?[1-9])/(?:3[01]|[12]\d|0?[1-9])|(?:3[01]|2\d|1[3-9])/(?:1[0-2]|0?[1-9]))(?![\w/.%-]|\.\d)",
    _I,
)
_SCORE_NEAR = re.compile(
    r"\b(?:strength|pain|power|motor|score[ds]?|reflex\w*|bp|pulses?|rated|severity|murmur|grade|apgar|gcs|vision|ratio|dose|"
    r"mrc|scale|out|phq|gad|nihss|moca|mmse|intensity|level|pressure|edema)\b",
    _I,
)
_SCORE_AFTER = re.compile(
    r"^ ?(?:strength|pain|power|in|on the|bilaterally|throughout|systolic|murmur|mg|tablets?|points?|criteria|of)\b", _I
)
_MONTH_ALONE = re.compile(
    r"\b(?:in|since|last|this|next|early|late|mid|until|till|by|during|before|after|from|through|of|every|around|and|to|between)[ -]"
    r"(?P<value>January|February|March|April|May|June|July|August|September|October|November|December|"
    r"Jan|Feb|Apr|Aug|Sept?|Oct|Nov|Dec)\b(?!\.?[ -]?\d)(?! (?:I|we|you|he|she|it|they|be|have|help)\b)",
)
_HOLIDAY = re.compile(
    r"\b(?:christmas(?: (?:eve|day))?|xmas|thanksgiving(?: day)?|easter(?: sunday| monday)?|new year'?s(?: (?:eve|day))?|"
    r"halloween|(?:the )?fourth of july|4th of july|july (?:4th|fourth)|independence day|labor day|memorial day|veterans'? day|"
    r"valentine'?s day|(?:st\.? patrick'?s|mother'?s|father'?s|presidents'?|columbus|juneteenth|boxing|good friday|mlk) day|"
    r"juneteenth|cinco de mayo|hanukkah|passover|yom kippur|rosh hashanah|eid(?: al-\w+)?|diwali|mardi gras|ash wednesday)\b(?! tree)",
    _I,
)
_BIRTH = re.compile(
    r"\b(?:dob|d\.o\.b\.?|date of birth|birth ?date|birthday|born(?: on)?)\b[^\w\n]{0,4}(?:(?:is|on|of|was)\b ?)?"
    r"(?P<value>\d{1,2}[ /.-]\d{1,2}[ /.-]\d{2,4}|\d{6,8})(?!\w)",
    _I,
)
_OLD_BIRTH = re.compile(
    r"\b(?:born(?: in)?|birth year:?|year of birth:?|yob:?|dob:?)\W{1,3}(?P<value>1[89][0-2]\d|193[0-5])\b(?![/-])", _I
)
_ADVANCED = r"(?:9\d|1[01]\d|12[0-5])"
_TENS = r"(?:ninety|(?:a |one )?hundred)(?:(?: and)?[- ](?:one|two|three|four|five|six|seven|eight|nine|ten))?"
_NOT_AGE = r" ?(?:%|mg|mcg|kg|lbs?|pounds|bpm|mmhg|cm|ml|units?|over|systolic|degrees|on room|/|\.\d|days|weeks|months|hours|minutes|percent)"
_AGES = tuple(
    re.compile(pattern, _I)
    for pattern in (
        rf"(?<![\w./+-])(?P<value>{_ADVANCED})(?=[ -]{{0,2}}(?:years?|yrs?|yr|y)[ -]{{0,2}}(?:old|o\b|young|of age))",
        rf"(?<![\w./+-])(?P<value>{_ADVANCED})(?= ?-?(?:yo|y/o|y\.o\.?|yof|yom|y\.?o\.?)\b)",
        rf"\b(?:age[ds]?|aged|turn(?:ed|ing|s)?|age is|age of|age was)[: ]{{1,3}}(?:is |of )?(?P<value>{_ADVANCED})(?![\w%+]|[./]\d| ?(?:mg|mm))",
        rf"(?<![\w./+-])(?P<value>{_ADVANCED})(?=[MF]\b(?! ?(?:temp|fever)))",
        rf"(?<![\w./+-])(?P<value>{_ADVANCED})(?= (?:year|yr)s?\b[ -]?(?:female|male|woman|man|lady|gentleman|patient|f\b|m\b))",
        rf"\b(?P<value>{_TENS})(?=[- ]years?[- ](?:old|of age|young))",
        rf"\b(?:aged?|turn(?:ed|ing|s)?|is|was|nearly|almost|about) (?P<value>{_TENS})(?! ?(?:percent|%|mg|milligrams?|mcg|ml|beats|over|\w+ ?/))\b(?=[ ,.;)]|$)",
        rf"(?<![\w./+-])(?P<value>{_ADVANCED})(?=th birthday)",
        rf"(?:\[NAME_\d{{1,6}}\]|\b(?:he|she|dad|mom|mother|father|grand\w{{2,8}}|patient|husband|wife|aunt|uncle|brother|sister)),?"
        rf" (?:(?:is|was|now|turned|age|aged|who|is now|who is) ){{0,2}}(?P<value>{_ADVANCED})\b(?!\+|{_NOT_AGE})",
    )
)


def find(text: str) -> Iterator[Finding]:
    """Yield dates finer than a year, and ages over 89."""
    for pattern in _FULL:
        for match in pattern.finditer(text):
            if not _modal_may(match.group()):
                yield Finding(Kind.DATE, match.start(), _end(text, match), "date", 0.95)
    for pattern, score in ((_BIRTH, 0.95), (_MONTH_ALONE, 0.7), (_OLD_BIRTH, 0.8)):
        for match in pattern.finditer(text):
            yield Finding(Kind.DATE, *match.span("value"), "date-label", score)
    for match in _HOLIDAY.finditer(text):
        yield Finding(Kind.DATE, match.start(), match.end(), "holiday", 0.6)
    for match in _SHORT.finditer(text):
        before, after = text[max(0, match.start() - 24) : match.start("value")], text[match.end() : match.end() + 14]
        if not _SCORE_NEAR.search(before) and not _SCORE_AFTER.match(after):
            yield Finding(Kind.DATE, *match.span("value"), "short-date", 0.7)
    for pattern in _AGES:
        for match in pattern.finditer(text):
            yield Finding(Kind.AGE, *match.span("value"), "age", 0.9)


def _modal_may(found: str) -> bool:
    """Tell "may 10" of "may 10% of patients" and "march 5" in lower case from a date by its year or suffix."""
    return bool(re.search(r"\bmay\b", found)) and not re.search(r"\d(?:st|nd|rd|th)|\d{4}", found)


def _end(text: str, match: re.Match[str]) -> int:
    end = match.end()
    return end - 1 if text[end - 1] == "." else end
