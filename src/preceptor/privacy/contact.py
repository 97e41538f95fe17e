# ruff: noqa: E501 - patterns and word lists read better unbroken
"""Normalized text in, findings of ways to reach a person out: mail, web and network addresses, telephone numbers.

Every pattern bounds its repeats, so the time is linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from preceptor.privacy.identifiers import Finding, Kind

_I = re.IGNORECASE
_EMAIL = re.compile(r"(?<![\w.+%'-])\w[\w.+%'-]{0,63}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,6}")
_SPELLED_EMAIL = re.compile(
    r"\b\w{2,40}(?:(?: dot |\.)\w{1,40}){0,3}(?: ?(?:\(at\)|\[at\]) ?[\w-]{2,40} ?(?:\(dot\)|\[dot\]| dot |\.) ?[a-z]{2,6}"
    r"| at [\w-]{2,40} ?(?:\(dot\)|\[dot\]| dot ) ?[a-z]{2,6}| at (?:gmail|yahoo|hotmail|outlook|aol|icloud|proton\w*)(?:\.[a-z]{2,6})?)\b",
    _I,
)
_URL = re.compile(r"\b(?:[a-z][a-z0-9+]{1,10}://|www\.)[^\s<>\"')\]]{1,500}", _I)
_DOMAINS = (
    "com|org|net|edu|gov|mil|io|co|me|info|biz|app|health|care|clinic|hospital|med|local|lan|internal|intranet|example|"
    "test|invalid|us|uk|ca|au|de|fr|es|it|nl|ie|in|nz|ch|at|be|se|no|dk|fi|pl|cz|pt|br|mx|jp|cn|eu"
)
_HOST = re.compile(
    rf"(?<![\w@.-])(?:[a-z0-9-]{{1,63}}\.){{1,5}}(?:{_DOMAINS})\b(?:/[^\s<>\"')\]]{{0,400}})?(?![\w@-])", _I
)
_PUBLIC_HOSTS = frozenset(
    [
        "cdc.gov",
        "nih.gov",
        "fda.gov",
        "who.int",
        "nice.org.uk",
        "nhs.uk",
        "clinicaltrials.gov",
        "medlineplus.gov",
        "drugs.com",
        "cochrane.org",
        "pubmed.gov",
        "aap.org",
        "heart.org",
        "diabetes.org",
        "cancer.gov",
    ]
)
_IPV4 = re.compile(
    r"(?<![\d.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:/\d{1,2}|:\d{2,5})?(?![\d.]?\d)"
)
_IPV6 = re.compile(
    r"(?<![\w:])(?:(?:[0-9a-f]{1,4}:){4,7}[0-9a-f]{1,4}|(?:[0-9a-f]{1,4}:){1,6}(?::[0-9a-f]{1,4}){1,6}|::1)(?![\w:])",
    _I,
)
_MAC = re.compile(r"(?<![\w:-])(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}(?![\w:-])", _I)
_UNIT = (
    r"(?! ?(?:mg|mcg|µg|ug|kg|g|ml|l|iu|units?|mmol|meq|cells?|copies|steps|bpm|mmhg|kcal|cal|hours?|days?|weeks?|%)\b)"
)
_US_PHONE = re.compile(
    r"(?<![\w.+-])(?:\+?1[ .-]?|001[ .-])?(?:\(\d{3}\) ?[.-]?|\d{3} ?[ .\-/] ?)\d{3} ?[ .-] ?\d{4}"
    r"(?:,? ?(?:x|ext\.?|extension) ?\d{1,6})?(?![\w-])",
    _I,
)
_LOCAL_PHONE = re.compile(rf"(?<![\w.,/-])\d{{3}}-\d{{4}}(?: ?(?:x|ext\.?) ?\d{{1,6}})?(?![\w/-]){_UNIT}", _I)
_ABROAD = re.compile(r"(?<![\w.])(?:\+|00)\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,5}(?!\w)")
_AREA_FIRST = re.compile(r"(?<![\w.])\(\d{2,4}\) ?\d{3,4}[ .-]?\d{2,4}(?:[ .-]?\d{2,4})?(?!\w)")
_GROUPS = re.compile(
    rf"(?<![\w.,/-])0?\d{{2,4}}([ .-])\d{{2,4}}\1\d{{2,4}}(?:\1\d{{2,4}}){{0,3}}(?![\w/-]|[.,]\d){_UNIT}"
)
_LABELED = re.compile(
    r"\b(?:phone|telephone|tel|cell|mobile|pager|beeper|fax|facsimile|call|text|contact|reach|dial|whatsapp|landline|"
    r"callback|voicemail|ext|extension|ph)\b[^\d\n]{0,40}?\n?(?P<value>\+?\(?\d[\d ().x/-]{2,22}\d)(?!\w)",
    _I,
)
_FAX_BEFORE = re.compile(r"\b(?:fax|facsimile|efax|f)\b[^\n]{0,18}$", _I)


def find(text: str) -> Iterator[Finding]:
    """Yield every way to reach a person that the text spells out."""
    for match in _EMAIL.finditer(text):
        yield Finding(Kind.EMAIL, match.start(), _without_trailing(text, match), "email", 0.99)
    for match in _SPELLED_EMAIL.finditer(text):
        yield Finding(Kind.EMAIL, match.start(), match.end(), "spelled-email", 0.8)
    for match in _URL.finditer(text):
        yield Finding(Kind.URL, match.start(), _without_trailing(text, match), "url", 0.99)
    for match in _HOST.finditer(text):
        host = match.group().lower().removeprefix("www.")
        if host not in _PUBLIC_HOSTS and _host_like(match.group()):
            yield Finding(Kind.URL, match.start(), _without_trailing(text, match), "host", 0.8)
    for pattern, kind, score in ((_IPV4, Kind.IP, 0.9), (_IPV6, Kind.IP, 0.9), (_MAC, Kind.DEVICE, 0.9)):
        for match in pattern.finditer(text):
            yield Finding(kind, match.start(), match.end(), "network", score)
    yield from _telephones(text)


def _telephones(text: str) -> Iterator[Finding]:
    for pattern, score in ((_US_PHONE, 0.95), (_ABROAD, 0.9), (_AREA_FIRST, 0.85), (_LOCAL_PHONE, 0.7), (_GROUPS, 0.7)):
        for match in pattern.finditer(text):
            if pattern is _GROUPS and sum(map(str.isdigit, match.group())) < 8:
                continue
            yield Finding(_line_kind(text, match.start()), match.start(), match.end(), "telephone", score)
    for match in _LABELED.finditer(text):
        digits = sum(map(str.isdigit, match.group("value")))
        if digits >= 7 or (digits >= 4 and "ext" in match.group().lower()[:9]):
            start, end = match.span("value")
            yield Finding(_line_kind(text, start), start, end, "telephone-label", 0.9)


def _line_kind(text: str, start: int) -> Kind:
    return Kind.FAX if _FAX_BEFORE.search(text, max(0, start - 25), start) else Kind.PHONE


def _host_like(host: str) -> bool:
    """Refuse sentence joins such as ``fever.In``: a host is lower case or has a path or three labels."""
    return "/" in host or host.count(".") > 1 or host == host.lower() or host.split(".")[-1].islower()


def _without_trailing(text: str, match: re.Match[str]) -> int:
    end = match.end()
    while end > match.start() + 1 and text[end - 1] in ".,;:!?-":
        end -= 1
    return end
