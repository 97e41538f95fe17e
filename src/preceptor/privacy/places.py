# ruff: noqa: E501 - patterns and word lists read better unbroken
"""Normalized text in, findings of places smaller than a state out: streets, towns, ZIP codes, hospitals."""

from __future__ import annotations

import re
from collections.abc import Iterator

from preceptor.privacy.identifiers import Finding, Kind
from preceptor.privacy.lexicon import is_safe

_I = re.IGNORECASE
_STATE_CODES = "A[LKZR]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|P[AR]|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY]"
_STATES = (
    "Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|Delaware|Florida|Georgia|Hawaii|Idaho|Illinois|Indiana|"
    "Iowa|Kansas|Kentucky|Louisiana|Maine|Maryland|Massachusetts|Michigan|Minnesota|Mississippi|Missouri|Montana|Nebraska|"
    "Nevada|New Hampshire|New Jersey|New Mexico|New York|North Carolina|North Dakota|Ohio|Oklahoma|Oregon|Pennsylvania|"
    "Rhode Island|South Carolina|South Dakota|Tennessee|Texas|Utah|Vermont|Virginia|Washington|West Virginia|Wisconsin|Wyoming"
)
_ZIP = r"\d{5}(?:-\d{4})?(?![\w-])"
_CAP = r"[A-ZÀ-Þ][\w'.-]{0,30}"
_STREET_WORD = (
    r"(?:street|str|st|avenue|ave|av|road|rd|boulevard|blvd|lane|ln|drive|dr|court|ct|way|place|pl|terrace|ter|parkway|pkwy|"
    r"highway|hwy|circle|cir|square|sq|trail|trl|crescent|close|row|alley|loop|plaza|turnpike|pike|route|crossing|run|heights|"
    r"gardens|grove|mews|quay|rue|via|calle|avenida|rua|strasse|straße|gasse|weg|straat|gade|vej|gatan|utca)"
)
_UNIT = r"(?:,? ?\n? ?(?:apt|apartment|unit|suite|ste|floor|fl|room|rm|bldg|building|#|no)\b\.? ?#?[\w-]{1,8})"
_TAIL = (
    rf"(?:{_UNIT}){{0,2}}(?:[,\s]{{1,3}}{_CAP}(?: {_CAP}){{0,3}}(?=,))?(?:[,\s]{{1,3}}(?:{_STATE_CODES}|{_STATES})\b\.?)?"
    rf"(?:[,\s]{{1,3}}{_ZIP})?"
)
_STREET = re.compile(
    rf"(?<![\w.-])\d{{1,6}}[A-Za-z]?(?:-\d{{1,4}})?,? (?:(?:north|south|east|west|[nsew]|[ns][ew])\.? )?"
    rf"(?:(?!(?:mg|mcg|ml|units?|and|or|of|for|to|by|per|times|days?|weeks?|months?|years?|hours?|the)\b)[\w'.-]{{1,30}} ){{1,4}}"
    rf"(?i:{_STREET_WORD})\b(?!')\.?(?: (?:[nsew]|[ns][ew])\b\.?)?{_TAIL}"
)
_NAMED_STREET = re.compile(
    rf"\b(?:{_CAP} ){{1,3}}(?:Street|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Parkway|Pkwy|Highway|Terrace|Crescent)\b\.?{_TAIL}"
)
_FOREIGN_STREET = re.compile(
    rf"\b(?:Via|Rue|Calle|Avenida|Rua|Strada|Piazza|Plaza|Avenue|Boulevard|Ulica|Prospekt)(?: (?:de|del|della|di|da|do|la|le|des|du|el|al))?"
    rf"(?: {_CAP}){{1,4}},? \d{{1,5}}[a-z]?\b|\b{_CAP}(?:straße|strasse|gasse|weg|platz|allee|straat|laan|gade|vej|gatan|vägen|katu|tie|utca)"
    rf" \d{{1,5}}[a-z]?\b|\b\d{{1,5}}[,]? (?:[Rr]ue|[Vv]ia|[Cc]alle) (?:(?:de|du|des|la|le|del|di|al) ){{0,2}}{_CAP}(?: {_CAP}){{0,3}}"
)
_BOX = re.compile(
    rf"\b(?:P\.? ?O\.? ?Box|Post(?:al)? ?(?:office )?Box|Box|PSC|CMR|Unit) \d{{2,6}}\b(?:,? Box \d{{2,6}})?(?:[,\s]{{1,3}}(?:APO|FPO|DPO) A[AEP] \d{{5}})?{_TAIL}",
    _I,
)
_UNIT_ALONE = re.compile(r"\b(?:apt|apartment|suite|ste)\b\.? ?#? ?(?:\d[\w-]{0,7}|[A-Z]\b)", _I)
_TOWN_STATE = re.compile(
    rf"\b(?:{_CAP} ){{0,3}}{_CAP}(?:,\s{{0,2}}|\s{{1,2}})(?:{_STATE_CODES})\b(?!-|\s*[:#]|\s+\d{{1,4}}\b|\s+[A-Z]\d|\s+\[)(?:[,\s]{{1,2}}{_ZIP})?"
)
_TOWN_STATE_NAME = re.compile(rf"\b(?:{_CAP} ){{0,2}}{_CAP}, (?:{_STATES})\b(?:[,\s]{{1,2}}{_ZIP})?")
_STATE_ZIP = re.compile(rf"\b(?:{_STATE_CODES}|{_STATES})[,\s]{{1,2}}(?P<value>{_ZIP})")
_ZIP_LABEL = re.compile(
    rf"\b(?:zip(?: ?code)?|postal code|post ?code)\b[^\w\n]{{0,3}}(?:(?:is|of|was|in|area)\b ?)?(?P<value>{_ZIP})", _I
)
_POSTCODE = re.compile(r"(?<![\w-])(?:[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}|[A-CEGHJ-NPR-TVXY]\d[A-Z] \d[A-Z]\d)(?![\w-])")
_GIVEN_ADDRESS = re.compile(
    r"\b(?:address(?:es)?(?: (?:is|was|of [\w ]{1,30} is))?|lives? (?:at|on)|resid(?:es|ing) (?:at|on)|located (?:at|on)|stay(?:s|ing) at|"
    r"living at|meet (?:you|me|him|her) at|(?:send|sent|mail(?:ed)?|ship(?:ped)?|deliver(?:ed)?|return)(?: \w+){0,5} to|office is at)"
    r":?\s{1,6}(?P<value>(?=[^\n.?;]{0,60}\d)(?:\d{1,6}[A-Za-z]?[ ,]{1,2}|[^\W\d_][\w'.-]{0,30}[ ,]{1,2}){1,8}(?:\d{1,5}[A-Za-z]?\b|[^\W\d_][\w'-]{1,30}))",
    _I,
)
_NUMBER_WORD_NUMBER = re.compile(
    r"(?<![\w.,/-])\d{2,6} (?:[A-ZÀ-Þ][^\W\d_]{3,30}\.? ){1,3}(?:u\. )?\d{1,5}(?![\w.,%/-])"
)
_COORDINATES = re.compile(
    r"-?\d{1,3}\.\d{3,8}° ?[NSEW]?,? {0,2}-?\d{1,3}\.\d{3,8}°? ?[NSEW]?|(?<![\w.])-?\d{1,2}\.\d{4,8}, ?-?\d{1,3}\.\d{4,8}(?![\w.])"
)
_FACILITY_WORD = (
    r"(?:hospitals?|hosp|clinics?|medical (?:center|centre|group|associates|plaza|college|school)|med (?:center|ctr)|health(?:care)?"
    r"(?: (?:system|center|centre|network|services|partners|plan))?|nursing (?:home|facility)|hospice|infirmary|sanatorium|"
    r"rehabilitation(?: center)?|rehab(?: center)?|cancer (?:center|centre|institute)|surgery center|dialysis(?: center)?|pharmacy|"
    r"institute|university|college|high school|middle school|elementary(?: school)?|school|academy|church|prison|jail|office|campus|branch|"
    r"correctional (?:facility|center)|assisted living|senior living|retirement (?:home|community|village)|manor|er|medical|"
    r"general(?: hospital)?|memorial(?: hospital)?|pediatrics|family (?:practice|medicine)|imaging|radiology|diagnostics|dental|orthopedics|apartments|estates|village|wellness|county|township|parish|township)"
)
_PART = r"(?:[A-Z][\w'.]*(?:-[A-Z][\w']*)?|of|and|the|&|de|la)"
_FACILITY = re.compile(
    rf"(?<![\w'-])[A-Z][\w'.]*(?:-[A-Z][\w']*)?(?: {_PART}){{0,5}}? (?i:{_FACILITY_WORD})\b(?! (?i:insurance|literacy))"
)
_GENERIC = frozenset(
    """the a an our your my his her their this that any each every at in from to of and & for with emergency outpatient inpatient primary
    care urgent pain diabetes heart cardiology oncology local community rural regional general public private mental behavioral
    women's womens men's children's childrens pediatric family maternity teaching academic university veterans affairs va
    national world global federal state county city department ministry center centre sleep wound memory stroke infusion
    travel fertility dental eye skin allergy asthma dermatology neurology psychiatry surgical surgery trauma burn critical
    intensive specialty walk-in same-day day night home public occupational population digital oral reproductive sexual
    bone kidney liver lung brain spine joint blood retail mail-order compounding online high low good poor bad overall
    medical nursing school health maternal child adolescent adult senior patient patients physical spiritual universal
    if when what is are does do can should which how why who where use ask call visit see tell refer contact follow national american nih niddk medlineplus institutes academy college british european international""".split()  # noqa: SIM905
)
_WEAK_FACILITY = frozenset(
    {
        "medical",
        "health",
        "general",
        "office",
        "school",
        "church",
        "university",
        "hospitals",
        "clinics",
        "county",
        "pharmacy",
        "rehab",
        "rehabilitation",
        "institute",
        "college",
        "er",
        "memorial",
        "hospice",
        "manor",
        "branch",
        "campus",
        "prison",
        "jail",
        "healthcare",
        "imaging",
        "radiology",
        "diagnostics",
        "dental",
        "orthopedics",
        "apartments",
        "estates",
        "village",
        "wellness",
        "pediatrics",
    }
)
_AT_BEFORE = re.compile(r"\b(?:at|to|from|by|with|in) (?:the |our )?$")
_KNOWN_FACILITY = re.compile(
    r"\b(?:Mayo(?: Clinic)?|Johns Hopkins(?: \w+ ?(?:Hospital|Center)?)?|Kaiser(?: Permanente)?|Cedars?[- ]Sinai|M(?:oun)?t\.? Sinai|NYU(?: Langone)?|"
    r"Mass(?:achusetts)? General|MGH|BWH|Brigham(?: and Women's)?|BIDMC|Beth Israel|UCSF|UCLA|UCSD|UCI|UPMC|UPenn|UWMC|OHSU|VUMC|UTSW|"
    r"MSKCC|MSK|(?:Memorial )?Sloan[- ]Kettering|MD Anderson|Dana[- ]Farber|NewYork-Presbyterian|New York[- ]Presbyterian|NYP|CHOP|CHLA|"
    r"Geisinger|Intermountain|Bellevue|Baylor(?: Scott)?|Stanford(?: Health)?|Vanderbilt|Emory|Montefiore|Tufts|Yale(?:[- ]New Haven)?|"
    r"Harborview|Parkland|Cook County|LA General|SF General|LAC\+USC|Grady|Northwell|Scripps|Sutter|Ochsner|Sentara|Inova|"
    r"Banner|Providence|Advocate|Ascension|Trinity|HCA|Cleveland Clinic|Duke|Henry Ford|Barnes[- ]Jewish|Lahey|Lenox Hill)\b"
    r"(?: (?:Medical Center|Med Center|Hospital|Clinic|Health(?: System)?|ER|Main Campus|campus))?"
    r"(?!(?: |-|')(?i:score|criteria|rule|law|sign|treadmill|protocol|guidelines?|formula|classification|staging|anthropometric|s\b))"
)
_LOWER_HOME = re.compile(
    r"\b(?:at|from|to|in) (?P<value>(?:[a-z]{3,20} ){1,2}(?:manor|nursing home|assisted living|retirement home))\b"
)
_CITIES = (
    "New York City|New York|NYC|Los Angeles|LA|Chicago|Houston|Phoenix|Philadelphia|Philly|San Antonio|San Diego|Dallas|San Jose|Austin|"
    "Jacksonville|Fort Worth|San Francisco|SF|Charlotte|Indianapolis|Seattle|Denver|Washington,? D\\.?C\\.?|Nashville|Oklahoma City|El Paso|"
    "Boston|Portland|Las Vegas|Vegas|Detroit|Memphis|Louisville|Baltimore|Milwaukee|Albuquerque|Tucson|Fresno|Sacramento|Kansas City|Mesa|"
    "Atlanta|Omaha|Colorado Springs|Raleigh|Long Beach|Virginia Beach|Miami|Oakland|Minneapolis|Tulsa|Tampa|Arlington|New Orleans|Wichita|"
    "Cleveland|Bakersfield|Honolulu|Anaheim|St\\.? Louis|Pittsburgh|Cincinnati|Anchorage|Henderson|Greensboro|Plano|Newark|Lincoln|Toledo|"
    "Orlando|Chula Vista|Irvine|Fort Wayne|Jersey City|Durham|St\\.? Petersburg|Laredo|Buffalo|Madison|Lubbock|Chandler|Scottsdale|Reno|"
    "Norfolk|Baton Rouge|Boise|Richmond|Spokane|Des Moines|Tacoma|Rochester|Salt Lake City|Brooklyn|Manhattan|Queens|Bronx|Staten Island|"
    "Harlem|Springfield|Syracuse|Albany|Salem|Eugene|Dayton|Akron|Santa Clara|Santa Monica|Santa Fe|Palo Alto|Berkeley|Pasadena|Burbank|"
    "London|Toronto|Vancouver|Montreal|Paris|Berlin|Madrid|Barcelona|Rome|Milan|Sydney|Melbourne|Dublin|Edinburgh|Glasgow|Manchester|"
    "Birmingham|Leeds|Liverpool|Tokyo|Beijing|Shanghai|Mumbai|Delhi|Dhaka|Lagos|Nairobi|Cairo"
)
_CITY_BEFORE = re.compile(
    rf"\b(?:in|from|near|at|to|of|outside|around|via|downtown|our|the|greater|visiting|leaving|a|,)[ ](?P<value>(?i:{_CITIES}))\b(?!-| (?i:criteria|classification|score|scale|protocol|rules?|heart|study|strain|fever|disease|staging|consensus|coma|outcome|blatchford|prognostic|virus))"
)
_HOME = re.compile(
    rf"\b(?:lives?|living|resid(?:es|ing|ent)|moved|relocated|native|born|grew up|works?|hometown|traveled|town|city|village|county|borough)"
    rf"(?: (?:in|at|near|of|to|from|is|on|outside))?:? (?P<value>{_CAP}(?: {_CAP}){{0,2}})"
)


def find(text: str) -> Iterator[Finding]:
    """Yield every place smaller than a state that the text gives by pattern."""
    for pattern, score in (
        (_STREET, 0.9),
        (_NAMED_STREET, 0.8),
        (_FOREIGN_STREET, 0.8),
        (_BOX, 0.85),
        (_UNIT_ALONE, 0.7),
        (_POSTCODE, 0.7),
        (_COORDINATES, 0.9),
        (_KNOWN_FACILITY, 0.85),
    ):
        for match in pattern.finditer(text):
            if pattern is _STREET and not _street_like(match.group()):
                continue
            yield Finding(Kind.LOCATION, match.start(), _end(text, match.end()), "place-pattern", score)
    for match in _GIVEN_ADDRESS.finditer(text):
        if any(ch.isdigit() for ch in match.group("value")) and _address_like(match.group("value")):
            said = match.group()[: match.start("value") - match.start()].lower()
            if (
                not said.startswith("address")
                or re.search(r":|\bis\b|\bwas\b", said)
                or match.group("value")[0].isdigit()
            ):
                yield Finding(
                    Kind.LOCATION, match.start("value"), _end(text, match.end("value")), "given-address", 0.75
                )
    for match in _NUMBER_WORD_NUMBER.finditer(text):
        if not any(is_safe(word) for word in re.findall(r"[^\W\d_]{3,}", match.group())):
            yield Finding(Kind.LOCATION, match.start(), match.end(), "number-word-number", 0.6)
    for pattern in (_TOWN_STATE, _TOWN_STATE_NAME):
        for match in pattern.finditer(text):
            start = _skip_common(match)
            if start is not None:
                yield Finding(Kind.LOCATION, start, match.end(), "town-and-state", 0.85)
    for pattern in (_STATE_ZIP, _ZIP_LABEL):
        for match in pattern.finditer(text):
            yield Finding(Kind.ZIP, *match.span("value"), "zip", 0.9)
    for match in _CITY_BEFORE.finditer(text):
        if match.group("value") in {"mesa", "buffalo", "phoenix", "queens", "la", "sf", "mobile", "eugene", "chandler"}:
            continue
        yield Finding(Kind.LOCATION, *match.span("value"), "city-list", 0.85)
    for match in _HOME.finditer(text):
        if not all(is_safe(word) for word in match.group("value").split()):
            yield Finding(Kind.LOCATION, match.start("value"), _end(text, match.end("value")), "residence", 0.75)
    for match in _LOWER_HOME.finditer(text):
        if match.group("value").split()[0] not in _GENERIC:
            yield Finding(Kind.LOCATION, *match.span("value"), "lower-case-home", 0.6)
    yield from _facilities(text)


def _facilities(text: str) -> Iterator[Finding]:
    for match in _FACILITY.finditer(text):
        words = list(re.finditer(r"[^\s]+", match.group()))
        first = 0
        while first < len(words) and words[first].group().lower() in _GENERIC:
            first += 1
        head = [word.group() for word in words[first:]]
        proper = [word for word in head if word[0].isupper() and word.lower() not in _GENERIC]
        named = [word for word in proper if not re.fullmatch(_FACILITY_WORD, word, _I)]
        # "Hypertension Clinic" opens a heading; "Valley Clinic" and "St. Mary's clinic" name a place,
        # and so does "City Medical Center" after "at".
        weak = (
            words[-1].group().islower() and words[-1].group() in _WEAK_FACILITY and all(is_safe(word) for word in named)
        )
        if not named or weak or (len(named) == 1 and _clinical_head(named[0])):
            whole = match.group().split()
            place = _AT_BEFORE.search(text, max(0, match.start() - 18), match.start()) and len(whole) > 1
            if not (place and all(word[0].isupper() for word in whole)):
                continue
            first = 0
        yield Finding(Kind.LOCATION, match.start() + words[first].start(), match.end(), "facility", 0.85)


def _address_like(found: str) -> bool:
    """An address given in words holds a proper name: "home 2 times a day" does not."""
    return any(not is_safe(word) or word[0].isupper() for word in re.findall(r"[^\W\d_]{3,}", found)) and not re.search(
        r"\b(?:mg|mcg|ml|units?|times|days?|weeks?|hours?|bpm|mmhg|am|pm|oxygen|liters?|o2)\b", found.lower()
    )


def _clinical_head(word: str) -> bool:
    return bool(
        re.search(r"(?:ology|iatry|ics|sion|tion|ic|al|gery|osis|itis|emia|ing|ed)$", word.lower())
    ) and is_safe(word)


def _street_like(found: str) -> bool:
    """Refuse "2 tablets a day by way": between number and street word at least one capital or a digit must stand."""
    return any(word[0].isupper() or word[0].isdigit() for word in found.split()[1:-1]) or any(
        word.lower().strip(".,") in {"street", "st", "avenue", "ave", "road", "rd", "boulevard", "blvd", "lane", "ln"}
        for word in found.split()[2:]
    )


def _skip_common(match: re.Match[str]) -> int | None:
    """Start the town after leading ordinary words ("Seen In Tampa, FL"); None where no town is left."""
    head = re.split(r",|\s(?=[A-Z]{2}\b)", match.group(), maxsplit=1)[0]
    words = list(re.finditer(r"\S+", head))
    for index, word in enumerate(words):
        bare = word.group().strip(".'")
        if not is_safe(bare) or index == len(words) - 1:
            if index == len(words) - 1 and (is_safe(bare) and "," not in match.group()[len(head) : len(head) + 1]):
                return None
            if bare.isupper() and len(bare) < 5 and bare not in {"LA", "NYC", "SF"}:
                return None
            return match.start() + word.start()
    return None


def _end(text: str, end: int) -> int:
    return end - 1 if text[end - 1] in ".,'" else end
