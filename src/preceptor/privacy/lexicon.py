# ruff: noqa: E501 - patterns and word lists read better unbroken
"""A word in, whether it is clinical or general language out: what must be kept however much it looks like a name."""

from __future__ import annotations

import re
from functools import lru_cache

from preceptor.privacy.wordlists import given_names, safe_words, surnames, word_set

EPONYMS = word_set("""
addison adson albright allen alport alzheimer angelman apert apgar argyll arnold asherman asperger auer auspitz babinski baker
balint bankart barlow barrett barthel bartholin bartter basedow batten becker beck beckwith behcet bell bence berger bernard
binswanger bishop bitot blumberg boerhaave bouchard bowen bowman braden bradford bristol broca brodie brown brudzinski brugada
budd buerger bunnell burkitt caplan caprini carnett castleman chaddock chagas charcot charlson chediak cheyne chiari child
chvostek clostridium colles conn cooley coombs cori courvoisier creutzfeldt crohn cullen cushing danlos dandy denis dercum
dieulafoy dix dravet dressler duchenne duke dupuytren duane eagle ebstein edwards ehlers eisenmenger epley epstein erb ewing fabry
fallot fanconi felty ferriman finkelstein fitz fitzpatrick foley fordyce fournier framingham frank freiberg friedreich frey
froment galeazzi gallwey gallowey galloway gardner gaucher gilbert gilles gitelman glasgow gleason goodpasture gordon gottron
gowers graves grawitz grey guillain barre guyon hallpike hamman hampton harris hartmann hashimoto hawkins heberden heimlich
heinz helicobacter henle henoch schonlein herberden hill hirschsprung hodgkin hoffman hoffmann holter homan homans horner
howell jolly hunter huntington hurler hutchinson ishihara jackson jacob jarisch herxheimer jobe jod-basedow jones kallmann
kaposi karnofsky kartagener kawasaki kearns kehr kernig kienbock killip klatskin klinefelter klippel kocher koplik korotkoff
korsakoff krabbe krukenberg kussmaul kveim lachman laennec lambert landouzy langerhans laplace larsen leber legg calve perthes
leigh lemierre leopold leriche lesch nyhan levine lewy lhermitte libman lichtman li fraumeni likert lisfranc little lofgren
louis ludwig lyme lynch madelung mallory maisonneuve mantoux marfan mayer mcburney mcardle mccune mcmurray meckel meigs menetrier
meniere menkes merkel mobitz monro monteggia morgagni morquio morton mucha munchausen munro murphy naegele nash neer nelson niemann
pick nissen noonan obrien ollier ober ortner ortolani osgood schlatter osler osler-weber-rendu paget pancoast papanicolaou pap
parkinson patau patrick pelizaeus pemberton perthes peutz jeghers peyronie phalen pierre robin plummer vinson poland pompe potter pott
prader willi prinzmetal purkinje quincke ramsay hunt ranson raynaud reed sternberg refsum reiter rendu rett reye rickettsia rinne
ritter rivero romberg rorschach roth rothmund rotor roux rovsing russell sanfilippo schamroth scheuermann schilling schirmer
schober schwartz seldinger sever sezary sheehan simmonds sipple sister sjogren sjögren snellen spurling stein leventhal steinert
stevens johnson still stokes strumpell sturge weber swan ganz sydenham takayasu takotsubo tay sachs terry thomas thompson thomsen
tietze tinel tourette trendelenburg treacher collins trousseau turcot turner tzanck usher valsalva vincent virchow volkmann von
recklinghausen hippel lindau willebrand gierke waardenburg waldenstrom wallenberg waterhouse friderichsen weber wegener wells wermer
werner wernicke whipple white widal wilms wilson winter wiskott aldrich wolff parkinson-white wong baker wood yergason zenker zollinger
ellison ziehl neelsen zung beck hamilton geneva ottawa centor maddrey lille glasgow-blatchford blatchford rockall alvarado light duke
hasbled beers stopp mallampati cormack lehane ballard tanner bazett fridericia cockcroft gault parkland lund browder schwartz berg
morse norton waterlow rankin ashworth hoehn yahr garden salter harris gustilo weber fontaine rutherford wagner caprini schatzker
epworth boston rotterdam amsterdam vancouver sgarbossa wellens winters modified curb kocher-debre adult ann arbor dukes barcelona
milan bethesda gram giemsa wright papanicolaou friedewald mosteller westley marsh paris chicago gell coombs mirizzi bosniak rome coats leiden mcleod greig schimke kuru miyoshi welander ullrich timothy williams okamoto nassar mousa breslow clark mayo truelove witts nikolsky balthazar forrest hinchey savary siewert lauren borrmann haggitt rai binet durie salmon
lauge hansen danis mason frykman gartland ficat kellgren lawrence outerbridge pauwels winquist crowe tonnis graf meyerding cobb risser
lenke pfirrmann modic hess fisher spetzler martin brackmann house koos simpson norwood fuhrman sullivan vaughan stanford debakey
crawford aldrete apfel lee goldman detsky gupta broome starr mcisaac silverman downes dubowitz manning kramer bhutani denver
vanderbilt conners young edinburgh yale montgomery asberg columbia liebowitz maudsley folstein montreal addenbrooke hachinski zarit
lawton katz tinetti unterberger semont brandt daroff schwabach durkan kennedy apley faber koebner darier janeway corrigan musset
duroziez carvallo ewart pratt moses roos elixhauser lown richmond wilms john rokitansky askin batten bietti
""")
"""People, places and words that name diseases, signs and scores; kept where they stand as one."""

STRICT_NOUNS = word_set("""
syndrome syndromes disease diseases sign signs reflex reflexes criteria criterion classification palsy phenomenon triad tetrad
pentad maneuver manoeuvre disorder lymphoma sarcoma tumor tumour anemia anaemia contracture deformity ulcer esophagus oesophagus
dystrophy ataxia chorea thyroiditis arteritis node nodes bodies anomaly malformation gangrene hernia nevus cyst gland ganglion
aphasia encephalopathy nomogram phase tremor cells granuloma mutation wort psychosis dementia hyperplasia abscess neuropathy
vasculitis purpura nephropathy cardiomyopathy agenesis tetralogy anastomosis parkinsonism dysplasia thrombocytopenia
""")
LOOSE_NOUNS = word_set("""
score scores scale index rule rules equation formula test tests procedure stain catheter tube lesion fracture rash grading stage
staging grade class position law response respirations method technique study trial trials guideline guidelines protocol line lines
duct space pouch ring rings fever virus bacteria questionnaire inventory chart diet regimen block spots spot papules nodules
operation repair approach cohort register registry collar incision needle forceps monitor angle view sequence calculator body
level levels fits assessment therapy theory staining tetralogy pulse murmur breathing bundle fibers duct system model exercises exercise
""")
_DRUG = re.compile(
    r"[a-z]{2,}(?:pril|prilat|sartan|olol|alol|statin|mab|nib|ciclib|rafenib|cillin|mycin|micin|cycline|floxacin|azole|oxetine|"
    r"prazole|gliptin|gliflozin|glutide|tide|parin|xaban|gatran|grel|dipine|triptan|setron|pam|lam|barbital|caine|curium|"
    r"profen|coxib|sone|solone|olone|onide|terol|tropium|phylline|lukast|amide|thiazide|semide|vir|buvir|previr|navir|"
    r"tegravir|ciclovir|cyclovir|fungin|zepam|zolam|azepine|toin|triptyline|pramine|azine|peridol|apine|idone|piprazole|"
    r"dronate|tinib|platin|rubicin|taxel|bine|trexate|parib|zumab|ximab|tocin|relin|relix|estrel|gestrel|estradiol|sterone|"
    r"oxone|orphan|codone|morphone|fentanil|phine|afil|osin|teride|nitrate|lipid|fibrate|formin|glitazone|glinide|ase|cort|"
    r"oid|emia|itis|osis|oma|opathy|ectomy|otomy|ostomy|plasty|scopy|graphy|gram|ology|uria|algia|plegia|paresis|trophy|genic|"
    r"globin|globulin|vaccine|virus|coccus|bacter|bacterium|monas|ella|spora|myces|icillin|floxacin|nazole|vastatin)"
)
_BRANDS = word_set("""
abilify abreva accutane actos adderall advair advil aduhelm afrin aimovig ajovy albuterol aleve allegra amaryl ambien amlactin
anoro aricept arnuity aspercreme asmanex ativan atrovent augmentin auvelity avapro bactrim basaglar benadryl benicar biktarvy
boniva botox breo breztri brilinta brintellix bumex buspar bystolic byetta caduet calan cardizem carafate caplyta catapres
celebrex celexa cetaphil cerave chantix cialis cipralex cipro claritin clozaril colace colcrys combivent concerta copaxone coreg
cosentyx coumadin covid cozaar crestor cymbalta daliresp depakote descovy detrol dexilant diflucan dilantin dilaudid diovan
dolophine dovato duavee dulera dupixent effexor elavil eliquis emgality emtricitabine enbrel entresto entyvio epclusa epipen
evenity excedrin farxiga fasenra flexeril flomax flonase flovent focalin forteo fosamax gabapentin genvoya geodon gleevec
glucophage glucotrol glyset glyxambi gvoke haldol harvoni herceptin humalog humira humulin hytrin ibrance imbruvica imitrex
imodium incruse inderal ingrezza inspra intuniv invokana isordil jakafi janumet januvia jardiance juluca kenalog keppra
kerendia keytruda kisqali klonopin klor lamictal lantus lasix latuda leqembi leqvio letairis levaquin levemir levitra levoxyl
lexapro librium linzess lioresal lipitor loestrin lomotil lopressor losartan lovaza lovenox lumify lunesta lupron lynparza lyrica
macrobid maxalt medrol metaglip mevacor miralax mirena mounjaro mucinex myrbetriq nasacort naprosyn narcan nardil nexium nexplanon
nicorette norco norvasc novolin novolog nplate nucala nurtec nuvaring ocrevus ofev olumiant opdivo orencia orilissa ortho
otezla oxycontin ozempic pamelor pataday paxil paxlovid pepcid percocet plaquenil plavix pradaxa praluent precose prevacid
premarin prilosec prinivil pristiq proair procardia prograf prolia propecia protonix proventil provera prozac pulmicort qulipta
qsymia qvar ranexa reglan relpax remeron remicade remdesivir renvela repatha restasis restoril retin revatio rexulti reyvow rinvoq
risperdal ritalin rituxan robaxin robitussin rotarix rotateq roxicodone rozerem rybelsus rytary saphris savella saxenda seroquel
sensipar shingrix sinemet singulair skelaxin skyrizi soliqua soliris soma spiriva spravato stelara steglatro stiolto strattera
suboxone subutex sudafed symbicort symlin symproic synthroid tagrisso taltz tamiflu tasigna tecfidera tegretol tekturna tenormin
toprol topamax toradol toujeo tradjenta tramadol trelegy tremfya tresiba tricor trikafta trintellix triumeq trulicity truvada
tylenol tymlos ubrelvy ultram uloric valium valtrex vascepa vasotec ventolin veozah verquvo verzenio viagra vicodin victoza
vimpat vivitrol voltaren vraylar vyepti vytorin vyvanse wegovy welchol wellbutrin wixela xanax xarelto xeljanz xeloda xgeva xifaxan
xolair xofluza xultophy xyzal yaz yasmin zantac zanaflex zarontin zelnorm zepbound zestoretic zestril zetia zithromax zocor zofran
zoloft zomig zubsolv zyban zyloprim zyprexa zyrtec pfizer moderna novavax janssen astrazeneca biontech gardasil prevnar bexsero
tdap comirnaty spikevax evusheld lagevrio tirzepatide sacubitril vericiguat finerenone bempedoic inclisiran lecanemab aducanumab
donanemab resmetirom zuranolone kombucha kratom keto neti nutrisystem medifast peloton orphanet medscape uptodate cochrane pubmed
dynamed lexicomp epocrates micromedex embase nature lancet jama google facebook apple android iphone fitbit whatsapp youtube chatgpt
openai zoom amazon walmart costco walgreens cvs uber medline tricare medicare medicaid obamacare gdpr hipaa pcsk keto-diet
omicron delta covid-19 coronavirus zika ebola mpox monkeypox hendra nipah dengue chikungunya polio noro norwalk coxsackie
""")
_GENERAL = word_set("""
hispanic latino latina latinx asian caucasian african american european arab arabic jewish jew jews muslim christian catholic hindu
buddhist sikh amish mennonite mormon jehovah native alaskan alaska hawaiian pacific islander indian chinese japanese korean vietnamese
filipino filipina thai mexican cuban puerto rican dominican haitian jamaican brazilian colombian peruvian english spanish french german
italian portuguese russian ukrainian polish greek turkish persian iranian iraqi syrian lebanese egyptian nigerian ethiopian somali kenyan
ghanaian bengali punjabi gujarati tamil telugu hindi urdu mandarin cantonese tagalog creole swahili hebrew latin dutch danish swedish
norwegian finnish scottish irish welsh british canadian australian mediterranean scandinavian ashkenazi sephardic navajo cherokee hopi united states u.s us uk kingdom guinea emirates ivy
africa asia europe america americas antarctica oceania caribbean sahara amazonian usa canada mexico england scotland ireland wales
britain france germany italy spain portugal netherlands belgium switzerland austria sweden norway denmark finland iceland poland
ukraine russia turkey greece china japan korea taiwan vietnam thailand philippines indonesia malaysia singapore india pakistan bangladesh
nepal australia zealand brazil argentina chile colombia peru venezuela ecuador bolivia cuba haiti jamaica egypt nigeria kenya ghana
ethiopia somalia sudan uganda tanzania morocco tunisia algeria iran iraq israel palestine gaza syria lebanon jordan saudi arabia yemen
kuwait qatar afghanistan alabama arizona arkansas california colorado connecticut delaware florida hawaii idaho illinois
indiana iowa kansas kentucky louisiana maine maryland massachusetts michigan minnesota mississippi missouri montana nebraska nevada
hampshire jersey carolina dakota ohio oklahoma oregon pennsylvania rhode tennessee texas utah vermont wisconsin wyoming quebec ontario
monday tuesday wednesday thursday friday saturday sunday january february march april may june july august september october november
december mon tue tues wed thu thur thurs fri sat sun jan feb mar apr jun jul aug sep sept oct nov dec spring summer autumn winter
hi hello dear thanks thank please yes no ok okay doctor doctors nurse sorry regards sincerely mr mrs ms miss dr md do rn np pa phd
ive youre dont cant wont isnt doesnt didnt wasnt shouldnt couldnt im id ill theyre hes shes its whats lets thats theres
congress senate supreme court church god jesus christ allah bible quran internet web email online website gene genes fake waste draft
radio ethically novo chat welfare unique remedy genuine million dash gov profit honesty uphold freedom judge moral bias world ascend
polar sir madam maam aetna cigna humana anthem unitedhealthcare bluecross oncotype mammaprint princess prince malarone lariam coartem arava imuran cellcept zyvox teflaro rocephin keflex cleocin flagyl vibramycin ampicillin naprelan mobic ultracet fioricet soma lidoderm aggrenox brilique effient integrilin lopid tricor niaspan zypitamag nesina onglyza kombiglyze invokamet synjardy trijardy qtern afrezza fiasp admelog lyumjev semglee adlyxin bydureon tanzeum medtronic dexcom omnipaque gadavist definity lexiscan
latte western northern southern eastern north south east west central upper lower old new saint mount lake river
hoping assuming given per via versus
""")
_CONTRACTED = ("'re", "'m", "'d", "'ll", "'ve", "n't", "'s")
_SUFFIXES = ("'s", "s'", "'", "es", "s", "ed", "d", "ing", "ly", "er", "ers", "al", "ic", "ally")
_PREFIXES = (
    "non",
    "re",
    "un",
    "over",
    "under",
    "mis",
    "anti",
    "pre",
    "post",
    "hyper",
    "hypo",
    "micro",
    "neuro",
    "dis",
    "sub",
    "multi",
)


@lru_cache(maxsize=100_000)
def is_safe(word: str) -> bool:
    """Tell whether a word is ordinary or clinical language, so that a capital alone does not make it a name."""
    lower = word.lower().rstrip(".").replace("é", "e").replace("è", "e").replace("ö", "o")
    if len(lower) <= 1 or lower in _GENERAL or lower in _BRANDS or lower in safe_words():
        return True
    for ending in _CONTRACTED:
        if lower.endswith(ending) and (len(lower) <= len(ending) + 1 or is_safe(lower.removesuffix(ending))):
            return True
    if "-" in lower or "/" in lower:
        return all(is_safe(part) for part in re.split(r"[-/]", lower) if part)
    if lower in given_names() or lower in surnames():
        return lower.endswith("'s") and is_safe(lower[:-2])
    if _DRUG.fullmatch(lower):
        return True
    for suffix in _SUFFIXES:
        stem = lower.removesuffix(suffix)
        if (
            stem != lower
            and len(stem) > 2
            and (stem in safe_words() or stem in _GENERAL or stem in _BRANDS or f"{stem}e" in safe_words())
        ):
            return True
    return any(lower.startswith(prefix) and lower[len(prefix) :] in safe_words() for prefix in _PREFIXES)


def is_eponym(word: str) -> bool:
    """Tell whether a disease, sign or score is named after this word."""
    lower = word.lower().removesuffix("'s").removesuffix("'")
    return lower in EPONYMS or all(part in EPONYMS for part in lower.split("-"))


def is_general(word: str) -> bool:
    """Tell whether a capitalized word is a country, a state, a people, a month, a brand or a form of address."""
    lower = word.lower().removesuffix("'s")
    return lower in _GENERAL or lower in _BRANDS
