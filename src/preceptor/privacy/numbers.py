# ruff: noqa: E501 - patterns and word lists read better unbroken
"""Normalized text in, findings of identifying numbers and codes out: labeled ones by their label, others by shape.

Default deny: five digits in a row, or letters mixed with four, are an identifier unless a unit, a code system or a
thousands comma says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from preceptor.privacy.identifiers import Finding, Kind
from preceptor.privacy.lexicon import is_safe

_I = re.IGNORECASE
_FILLER = (
    r"[^\w\n]{0,6}(?:(?:numbers?|nos?|nbr|num|nr|id|ids|identifier|code|card|is|was|of|as|ending|ends|in|with|the|last|"
    r"four|4|digits|reads|under|listed|called|on|file|for|reference|ref|his|her|their|patient|patient's)\b[^\w\n]{0,4}){0,6}"
)
_VALUE = r"(?P<value>[A-Za-z0-9](?:[A-Za-z0-9]|[-/._*](?=[A-Za-z0-9*])){1,40}(?: [A-Z]{0,2}\d[A-Z0-9]{1,4}(?![\w-]| ?(?:mg|y)))*)"
_LABELS: tuple[tuple[Kind, str], ...] = (
    (Kind.SSN, r"ssn|s\.s\.n\.?|ss#|social security|social sec|social insurance|tax id|taxpayer id|itin"),
    (
        Kind.MRN,
        r"mrn|m\.r\.n\.?|mr#|mr no|medical record|med(?:ical)? rec|health record|chart|record|hospital (?:number|no|id|#)|"
        r"unit number|patient (?:id|number|no|identifier|#)|pt (?:id|no|#)|encounter|visit (?:number|no|id|#)|accession|"
        r"csn|fin|har|nhs (?:number|no)|emr|ehr|epic id",
    ),
    (
        Kind.PLAN,
        r"member|membership|policy|subscriber|group (?:number|no|id|#)|medicare|medicaid|mbi|hicn|insurance|insured|"
        r"health plan|beneficiary|plan|payer|payor|coverage|hmo|ppo|enrollee|blue cross|bcbs|aetna|cigna|humana|"
        r"unitedhealthcare|uhc|kaiser|tricare|prior auth(?:orization)?|claim",
    ),
    (
        Kind.ACCOUNT,
        r"account|acct|a/c|invoice|bank|routing|iban|credit card|debit card|card|billing|guarantor|payment|visa|mastercard|amex",
    ),
    (
        Kind.LICENSE,
        r"licen[cs]e|lic|driver'?s? licen[cs]e|dl|dea|npi|certificate|certification|passport|permit|registration",
    ),
    (Kind.VEHICLE, r"vin|license plate|licence plate|number plate|plates?|vehicle|car tag"),
    (
        Kind.DEVICE,
        r"serial|s/n|sn|device|udi|imei|implant|pacemaker|icd device|pump|model no|lead|meid|sensor|transmitter|glucometer",
    ),
    (
        Kind.BIOMETRIC,
        r"fingerprint|finger print|biometric|retinal? scan|iris scan|iris template|voice ?print|face ?print|"
        r"facial (?:template|scan|id)|palm print|dna profile|genetic profile",
    ),
    (
        Kind.ID,
        r"employee|badge|student|study id|subject|participant|ticket|reference|ref|confirmation|order|rx|prescription|"
        r"specimen|sample|case|tracking|token|passcode|pin|identifier|unique id|id|registry|enrollment|trial id|barcode|"
        r"protocol id|research id|donor|bed|room|locker|military|service number|veteran",
    ),
)
_LABELED = tuple((kind, re.compile(rf"(?<![\w/])(?:{labels})(?!\w){_FILLER}{_VALUE}", _I)) for kind, labels in _LABELS)
_LOGIN = re.compile(
    r"\b(?:user ?names?|user ?id|log-?in(?: id| name)?|handle|screen ?name|portal (?:id|account|login)|account name|"
    r"instagram|twitter|facebook|skype|telegram|tiktok|password|(?:logged|signed|log|sign) in as)\b(?: (?:is|was|of|account|handle|page))?[^\w\n]{1,4}"
    r"(?P<value>@?[\w.-]*[\w])",
    _I,
)
_USER = re.compile(r"\b(?:user|usr|account)[: ]{1,2}(?P<value>[a-z][\w.-]{2,30}\d\w{0,6})\b")
_PERSONAL = re.compile(
    r"(?<![\w.@/-])(?P<word>[a-z]{5,20})[._]?\d{1,4}(?![\w.%/-]|\.\d)|(?<![\w.@/-])[a-z]{2,20}_[a-z0-9_]{2,30}(?!\w)"
)
_HANDLE = re.compile(r"(?<![\w.@])@[A-Za-z]\w{2,30}")
_SSN = re.compile(r"(?<![\w-])(?:\d{3}|[xX*]{3})([- ])(?:\d{2}|[xX*]{2})\1\d{4}(?![\w-])")
_UUID = re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", _I)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:[A-Z0-9]{11,30}|(?: [A-Z0-9]{4}){3,7}(?: [A-Z0-9]{1,3})?)\b", _I)
_CARD = re.compile(r"(?<![\w.-])(?:\d{4}[ -]){3}\d{1,7}(?![\w-])|(?<![\w.-])\d{4}[ -]\d{6}[ -]\d{5}(?![\w-])")
_UDI = re.compile(r"\(01\) ?\d{14}(?: ?\(\d{2}\) ?[A-Za-z0-9-]{1,20}){0,4}")
_PHOTO = re.compile(
    r"(?<![\w/.-])[\w-](?:[\w-]|\.(?=\w)){0,80}\.(?:jpe?g|png|gif|bmp|tiff?|heic|webp|dcm|dicom|mp4|mov|avi|pdf|docx?|xlsx?)\b",
    _I,
)
_PLATE = re.compile(r"\b(?:plates?|tag|registration)\b[^\n]{0,14}?(?P<value>[A-Z0-9]{1,4}[ -][A-Z0-9]{2,5})\b")
_HASHED = re.compile(r"#\s?(?P<value>(?=[\w-]*\d[\w-]*\d[\w-]*\d)[A-Za-z0-9][\w-]{2,30})")
_TOKEN = re.compile(r"(?<![\w.])[A-Za-z0-9](?:[A-Za-z0-9]|[-/_](?=[A-Za-z0-9])){3,60}(?!\w)")
_UNIT_AFTER = re.compile(
    r"^[.,]?\d* ?(?:x10\S*|/|per |-)? ?(?:mg|mcg|µg|μg|ug|ng|pg|kg|g|gm|ml|dl|l|cc|iu|u|units?|mmol|nmol|pmol|meq|mci|mbq|cells?|copies|steps|"
    r"bpm|mmhg|cm|mm|m|kcal|cal|calories|hours?|hrs?|days?|weeks?|months?|years?|patients|people|participants|adults|women|men|"
    r"children|births|live|deaths|cases|cfu|ohms?|hz|platelets|leukocytes|wbc|rbc|percent|%|usd|dollars|µl|ul|microlit\w+|cmm|mm3|"
    r"person|individuals|subjects|residents|newborns|americans)\b|^ ?[%/]|^,\d{3}|^\.\d",
    _I,
)
_MEASURE_BEFORE = re.compile(
    r"(?:\b(?:platelets?|plt|wbc|rbc|count|bnp|nt-?probnp|ferritin|ck|cpk|ldh|troponin|ast|alt|lipase|amylase|viral load|d-dimer|"
    r"hcg|b-?hcg|cd4|psa|afp|ca ?\d{2,3}-?\d?|triglycerides|lithium|neutrophils?|anc|leukocytes?|colony|icd-?(?:9|10)?|cpt|snomed|loinc|"
    r"pmid|doi|pmc|nct|isrctn|omim|mim|rxnorm|ndc|atc|hcpcs|drg|cas|umls|orpha)\b[^\n\w]{0,4}(?:(?:is|was|of|at|code|ct|level|to|"
    r"count|number|no|ID)\b[^\n\w]{0,3}){0,3}|[$€£<>≥≤~] ?)$",
    _I,
)
_SAFE_CODE = re.compile(
    r"nct\d{8}|isrctn\d{8}|rs\d{3,12}|pmc?\d{5,9}|pmid\d{5,9}|10\.\d{4,9}|[a-tv-z]\d[0-9a-z](?:\.\w{1,4})?|\d{1,2}[pq]\d{1,2}(?:\.\d{1,2})?|[A-Z]{2,6}\d{1,2}[A-Z]\d{1,2}|\d{1,3}(?:,\d{3})+|"
    r"(?:azd|bnt|bms|mrna|mk|ly|pf|gsk|abt|sars-cov|covid|h\dn|hla|ecog|ctla|chads|chr|sb|ro|tak|abbv|amg|jnj|ono|cc)-?\d{1,7}\w{0,3}|"
    r"\d+(?:mg|mcg|ug|g|kg|ml|l|iu|u|units?|meq|mmol|mm|cm|cc|k|hz|kcal|hr|hrs|h|d|wk|s|x|th|st|nd|rd|am|pm|f|c|yo|y)(?:[/-]\w{1,8}){0,3}|"
    r"\d{4}-\d{4}|\d{4}s?|\d{1,4}/\d{1,4}(?:/\d{1,4})?|(?:19|20)\d\d[/-](?:19|20)?\d\d|\d+-to-\d+|\d{1,4}-\d{1,4}(?:mg|mcg|ml|g)?|"
    r"\d+[/-](?:mg|mcg|ml|hours?|days?|weeks?|months?|years?|minutes?|mins?|year-old)\S*",
    _I,
)


def find(text: str) -> Iterator[Finding]:
    """Yield labeled numbers and codes, then everything with the shape of one."""
    for match in _SSN.finditer(text):
        yield Finding(Kind.SSN, match.start(), match.end(), "ssn", 0.95)
    for kind, pattern in _LABELED:
        for match in pattern.finditer(text):
            if _is_value(match.group("value"), text, match.end("value"), kind):
                yield Finding(kind, match.start("value"), match.end("value"), "labeled-number", 0.95)
    for match in _LOGIN.finditer(text):
        plain = not re.search(r"[\d_.@]", match.group("value")) and not re.search(r":|=| is | was | as ", match.group())
        if not plain and match.group("value").lower() not in {
            "and",
            "for",
            "the",
            "is",
            "was",
            "to",
            "or",
            "with",
            "page",
            "account",
            "at",
        }:
            yield Finding(Kind.ID, match.start("value"), match.end("value"), "login", 0.8)
    for match in _USER.finditer(text):
        yield Finding(Kind.ID, *match.span("value"), "login", 0.8)
    for match in _PERSONAL.finditer(text):
        parts = re.findall(r"[a-z]{2,}", match.group())
        if any(not is_safe(part) for part in parts if len(part) > 2 or len(parts) == 1):
            yield Finding(Kind.ID, match.start(), match.end(), "login-shape", 0.6)
    for pattern, kind in (
        (_HANDLE, Kind.ID),
        (_UUID, Kind.ID),
        (_IBAN, Kind.ACCOUNT),
        (_CARD, Kind.ACCOUNT),
        (_UDI, Kind.DEVICE),
        (_PHOTO, Kind.PHOTO),
    ):
        for match in pattern.finditer(text):
            yield Finding(kind, match.start(), match.end(), "shaped-number", 0.9)
    for pattern, kind in ((_PLATE, Kind.VEHICLE), (_HASHED, Kind.ID)):
        for match in pattern.finditer(text):
            if any(ch.isdigit() for ch in match.group("value")):
                yield Finding(kind, match.start("value"), match.end("value"), "labeled-number", 0.85)
    yield from _by_shape(text)


def _is_value(value: str, text: str, end: int, kind: Kind) -> bool:
    digits = sum(map(str.isdigit, value))
    letters = sum(map(str.isalpha, value))
    if digits < 2 or (digits == 2 and letters < 2) or not any(map(str.isdigit, value.split(" ")[0])):
        return False
    if value[0].isdigit() and _UNIT_AFTER.match(text[end : end + 24]) and kind is not Kind.SSN:
        return False
    # A bare year after "record" or "card", or a short count after "case" or "lead", is not a number of a person.
    if value.isdigit() and len(value) == 4 and value[:2] in {"19", "20"}:
        return False
    if digits <= 3 and letters == 0 and kind in {Kind.ID, Kind.DEVICE, Kind.LICENSE, Kind.VEHICLE, Kind.PLAN, Kind.MRN}:
        return len(value) >= 3 and "#" in text[max(0, end - len(value) - 3) : end]
    return value.isdigit() or digits > 4 or not _SAFE_CODE.fullmatch(value)


def _by_shape(text: str) -> Iterator[Finding]:
    for match in _TOKEN.finditer(text):
        token = match.group()
        digits = sum(map(str.isdigit, token))
        letters = sum(map(str.isalpha, token))
        run = max((len(part) for part in re.findall(r"\d+", token)), default=0)
        if digits < 4 or (digits < 5 and letters == 0):
            continue
        if _SAFE_CODE.fullmatch(token) or (letters == 0 and run < 4 and digits < 6):
            continue
        before, after = text[max(0, match.start() - 40) : match.start()], text[match.end() : match.end() + 24]
        if token[0].isdigit() and _UNIT_AFTER.match(after):
            continue
        if _MEASURE_BEFORE.search(before) and run <= 9:
            continue
        if letters and re.fullmatch(r"(?:[A-Za-z]+-)*[A-Za-z]+-?(?:19|20)\d\d|(?:19|20)\d\d-[A-Za-z-]+", token):
            continue  # ESC-2023, ACC/AHA-2017: a guideline and its year
        yield Finding(Kind.ID, match.start(), match.end(), "number-shape", 0.75)
