"""The lexicon of questions: which words ask for what, and by which words an answer shows it.

Data more than code, written by hand and tried on the seed bank: a trigger that is missing costs yield, a
pattern that is too wide costs precision. `evidence.py` says how it is used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from workers.engines.extractive.form import NUMBER_WORDS


@dataclass(frozen=True, slots=True)
class Facet:
    """One thing the answer has to show."""

    name: str
    pattern: re.Pattern[str]
    needs_subject: bool = False
    """The pattern begins where a mention of the subject ends (a definition)."""
    listed: bool = False
    """A list may show it, or the heading above one: under "Symptoms" a list need not say the word."""
    before_subject: re.Pattern[str] | None = None
    """Also shown by this just before a mention of the subject ("mutations cause …")."""
    heading: re.Pattern[str] | None = None
    """What the heading above a list has to hold, where that is less than a sentence has to."""
    bare: bool = False
    """A sentence may show it without naming the subject: "Symptoms include …"."""
    after_subject: re.Pattern[str] | None = None
    """Also shown by this from the end of a mention on ("… is characterized by")."""
    not_of_subject: bool = False
    """What the pattern finds must not lead to the subject: "pain caused by gout" is no cause of gout."""


_LISTED: Final = frozenset(
    {"symptom", "treatment", "diagnosis", "cause", "names", "research", "risk", "prevention", "complication",
     "benefit", "frequency", "use", "side effects", "steps"}
)  # fmt: skip


_BARE: Final = frozenset(
    {"symptom", "treatment", "diagnosis", "complication", "side effects", "steps", "frequency"}
)


def facet(
    name: str,
    pattern: str,
    *,
    needs_subject: bool = False,
    before_subject: str = "",
    after_subject: str = "",
    heading: str = "",
    not_of_subject: bool = False,
) -> Facet:
    """Build a facet; patterns ignore case."""

    def compiled(text: str) -> re.Pattern[str] | None:
        return re.compile(text, re.IGNORECASE) if text else None

    return Facet(
        name,
        re.compile(pattern, re.IGNORECASE),
        needs_subject,
        name in _LISTED or name.startswith("word:"),
        compiled(before_subject),
        compiled(heading),
        name in _BARE or name.startswith("word:"),
        compiled(after_subject),
        not_of_subject,
    )


_PEOPLE: Final = (
    r"(?:people|persons?|individuals|patients|men|women|males|females|boys|girls|children|births|newborns|"
    r"babies|infants|families|cases|adults|americans|population|live births)"
)
PREVALENCE: Final = (
    rf"\b(?:1|one) (?:in|of|out of|per) (?:every )?(?:\d|[a-z]+ ?(?:hundred|thousand|million))|"
    rf"\b(?:\d[\d,.]*|{NUMBER_WORDS})(?: to \d[\d,.]*)?(?: known| affected| reported| [a-z]+)? {_PEOPLE}\b|"
    r"\bper (?:\d|million|year)|\d ?(?:%|percent\b)|"
    r"\b(?:prevalence|incidence|frequency)\b|"
    r"\b(?:is|are|very|extremely|relatively|fairly|quite|more|less|most|least)(?: a| an| the)? "
    r"(?:rare|uncommon|common)\b(?! (?:form|type|cause|symptom|sign|variant|feature|complication|"
    r"subtype|treatment))|"
    r"\b(?:has|have) been (?:reported|described|identified) in\b"
)

_SYMPTOMS: Final = r"(?<!no )\b(?:symptoms?|signs?|features?|findings|characteristics)\b"
_NO_SYMPTOM: Final = (
    r"not|often|usually|generally|typically|highly|very|extremely|so|more|less|mild|milder|severe|similar|"
    r"variable|linked|related|due|caused|the same|present|seen|noticed|apparent|evident|treated|based|"
    r"different|unknown|at|first|also|known|reversible|reduced|worse|limited|lifelong|progressive|thought|"
    r"believed|those|to|that|because|when|associated|confined|difficult|hard|common|unclear|detected|"
    r"recogni[sz]ed|found|relieved|managed|a result|needed|required"
)
"""What follows "symptoms are" where it names none."""
_NO_SIGN: Final = (
    r"production|degenerat|deficien|absence|build|accumulat|mutation|presence|lack|overgrowth|damage|protrusion|"
    r"development|growth|formation|loss of (?:nerve|motor|brain)|process|thickening|enzyme"
)
"""What "characterized by" brings that is what goes on inside, not what is seen or felt."""
_NO_TREATMENT: Final = (
    r"\btreatments? (?:of [^.]{0,40} |for [^.]{0,40} )?(?:depends?|varies|vary)\b"
    r"(?![^.]*\b(?:includ|may be|such as))|"
    r"\btreatments? (?:can|may|might) (?:slow|help|stop|prevent|reduce|relieve|improve|also)\b"
    r"(?![^.]*\b(?:includ|such as|with|by)\b)|"
    r"\btreatment options\.|\bclinical trial|\bcan lead to\b|\b(?:even )?after treatment\b|"
    r"\bdespite treatment\b|\bwith treatment\b|\bmore likely to work\b|\bhelp prevent\b|"
    r"\bvariable success\b|\bassociated with\b|\bstud(?:y|ies)\b|\bresearch"
)
"""Sentences on treatment that name none."""
_CARE: Final = (
    r"\b(?:medicines?|medications?|surgery|antibiotics?|drugs?|therapy|therapies|steroids?|"
    r"creams?|injections?)"
)

# (trigger in the question, what it wants). Earlier ones win; a trigger's words are then used up.
LEXICON: Final[tuple[tuple[re.Pattern[str], Facet], ...]] = tuple(
    (re.compile(trigger, re.IGNORECASE), facet)
    for trigger, facet in (
        (
            r"\bhow often (?:does|do) (?:each|every) (?:one )?(?:shows? up|occurs?|appears?)|\bhow often\b",
            facet(
                "frequency",
                r"(?:\d ?%|\bpercent\b|\d/\d).*?(?:\d ?%|\bpercent\b|\d/\d).*?(?:\d ?%|\bpercent\b|\d/\d)",
            ),
        ),
        (
            (
                r"\bhow (?:common|rare|frequent|widespread)\b|\bprevalence\b|\bincidence\b|"
                r"\bhow many people (?:have|get|live)\b"
            ),
            facet("prevalence", PREVALENCE),
        ),
        (
            r"\bside effects?\b",
            facet("side effects", r"\bside effects?\b|\badverse\b|\bmay cause\b|\bcan cause\b"),
        ),
        (
            r"\brisk factors?\b|\bat (?:most )?risk\b|\bmost (?:likely|at risk)\b|\bwho (?:usually )?gets?\b",
            facet(
                "risk",
                r"\brisk|\bmore (?:common|likely|often|frequent)|\bmost (?:common|often|likely)|\blikely\b",
            ),
        ),
        (
            r"\bsigns and symptoms\b|\bsigns or symptoms\b|\bwarning signs?\b|\bsymptoms?\b|\bsigns?\b",
            facet(
                "symptom",
                rf"{_SYMPTOMS}[^.]{{0,90}}?\b(?:includ\w+|such as|resembles?|consist\w*|range from)\b|"
                rf"{_SYMPTOMS}[^.]{{0,60}}?\b(?:are|is|were|may be|can be)\b(?! (?:{_NO_SYMPTOM})\b)|"
                r"\b(?:it|they|(?:this|the) (?:condition|disorder|disease|syndrome|infection)) (?:is|are) "
                rf"characteri[sz]ed by\b(?! (?:the |an? )?(?:\w+ )?(?:{_NO_SIGN}))|\bsymptoms?:",
                after_subject=(
                    rf"[^.;]{{0,60}}\bcharacteri[sz]ed by\b(?! (?:the |an? )?(?:\w+ )?(?:{_NO_SIGN}))"
                ),
                heading=r"\bsymptoms?\b|\bsigns?\b",
            ),
        ),
        (
            (
                r"\bwhat (?:is |are )?(?:the )?(?:main |most common |known |usual |exact )?(?:causes?|"
                r"reasons?)\b|\bcause[sd]?\b|"
                r"\bhow does (?:someone|a person|one|anyone|anybody) (?:get|catch)\b|\bwhat makes\b|"
                r"\btriggers?\b"
            ),
            facet(
                "cause",
                r"(?<!not )\bcaused by\b|\b(?:is|are|be|was|were)(?: \w+ly| most often| often)? due to\b|"
                r"\b(?:occurs?|happens?|develops?|arises?) (?:because|when)\b(?! the body has (?:low|high))|"
                r"\bresult(?:s|ed|ing)? (?:of|from|when)\b|\b(?:is|are) the result\b|"
                r"\bcauses? of\b[^.]{0,90}\b(?:is|are|includes?|may|can|was|were|remains?)\b"
                r"(?!n't| not (?:always )?clear)|\bcauses include\b|\btriggered by\b|"
                r"\bstems? from\b|\bcomes? from\b|"
                r"\barises? from\b|\bcause is (?:not |un)known\b|\bbrought on by\b|"
                r"\bno one knows (?:exactly )?what causes\b",
                not_of_subject=True,
                before_subject=r"\b(?:caus(?:es?|ed|ing)|trigger(?:s|ed)?|leads? to|responsible for|"
                r"result(?:s|ing)? in)\s+(?!of\b)"
                r"(?:[\w-]+\s+){0,3}$",
            ),
        ),
        (
            r"\bwhy\b|\breasons?\b|\bwhat for\b",
            facet(
                "reason",
                r"\bbecause\b|\bdue to\b|\bsince\b|\bso that\b|\bin order to\b|\bas a result\b|\breasons?\b|"
                r"\bcaus(?:e|es|ed|ing)\b|\bthanks to\b|\bresult(?:s|ed|ing)? (?:of|from)\b|\bwhich is why\b",
            ),
        ),
        (
            r"\bis there (?:a|any) cure\b|\bcurable\b|\bcan .{0,40} be cured\b",
            facet(
                "cure",
                (
                    r"\bno cure\b|\bcured?\b|\bno (?:specific|standard|known) treatment\b|"
                    r"\bsymptomatic\b|\bcurative\b"
                ),
            ),
        ),
        (
            r"\bmanage (?:the |its )?symptoms\b",
            facet(
                "treatment",
                r"\btreat|\btherap|\bmedicines?\b|\bmedications?\b|\bsurg|\brelie(?:f|ve)|\bmanage",
            ),
        ),
        (
            (
                r"\btreat(?:ment|s|ed|ments|ing)?\b(?: options?)?|\btherap(?:y|ies)\b|\bmanaged?\b|"
                r"\bcured?\b|\bfixe?s?\b"
            ),
            facet(
                "treatment",
                rf"^(?!(?:because|before|until|if|without|when|while)\b)(?!.*(?:{_NO_TREATMENT})).*?(?:"
                r"(?<!not )(?<!left )(?<!without )(?<!never )(?<!to )(?<!before )\btreat(?:ed|ments?|able)\b|"
                r"\bcan(?:not)? be (?:managed|relieved|controlled)\b|"
                r"\bmanagement (?:of|is|may|includes?|involves?)\b|"
                rf"{_CARE}\b[^.;]{{0,50}}\b(?:helps?|relieves?|controls?|corrects?|removes?|reduces?|eases?|"
                r"improves?|prescribed|recommended|effective)\b)",
                before_subject=r"\b(?:used to|doctors?(?: \w+)?|can|may|help) treat\s+(?:[\w-]+\s+){0,3}$",
                heading=r"\btreat",
            ),
        ),
        (
            r"\bdiagnos(?:e|ed|es|is|ing)\b|\btested for\b|\bdetected?\b",
            facet(
                "diagnosis",
                r"\bdiagnos|\btest(?:s|ed|ing)?\b|\bexams?\b|\bexamination|\bbiops|\bscans?\b|\bdetect",
            ),
        ),
        (
            (
                r"\bpassed down(?: in families)?\b|\binherit\w*\b|\bhereditary\b|"
                r"\bruns? in (?:the )?famil(?:y|ies)\b|\bgenetic\b"
            ),
            facet(
                "inheritance",
                r"^(?!acquired\b)(?:.|\n)*?(?:\binherited (?:in|as|from|through)\b|"
                r"\bautosomal (?:dominant|recessive)|"
                r"\bX-linked (?:dominant|recessive|pattern|manner|inheritance)|\bmitochondrial inheritance|"
                r"\bruns? in (?:the |some )?famil|\bpassed (?:down|on|from)\b|\bde novo\b|\bsporadic|"
                r"\bnot (?:usually |typically |generally )?inherited\b|\bno (?:family )?history\b|"
                r"\bnew mutations?\b)",
            ),
        ),
        (
            r"\bgenes?\b",
            facet("gene", r"\bgenes?\b|\bmutations? in\b"),
        ),
        (
            r"\bprevent(?:s|ed|ing|ion)?\b|\bavoid(?:ed|ing)?\b|\bprecautions?\b|\bprotect(?:ed|ing|ion)?\b",
            facet(
                "prevention",
                r"\bprevent|\bavoid|\bprotect|\bvaccin|\breduc\w+ (?:the|your|their) (?:risk|chance)",
            ),
        ),
        (
            r"\blong[- ]term effects?\b",
            facet(
                "long-term",
                r"\blong[- ]term\b|\byears (?:after|later)\b|\blate effects?\b|\bpermanent|\blasting\b",
            ),
        ),
        (
            r"\bwhat happens in the brain\b",
            facet(
                "brain",
                r"\b(?:brain|nerve cells?|neurons?|cerebral|cerebellum|cortex)\b[^.;]*\b(?:damaged|"
                r"degenerat\w+|lose|dies?|shrinks?|"
                r"swells?|swelling|signals?|deposits?|builds? up|replaced|altered)\b|"
                r"\b(?:damages?|damage to|degeneration of|dysfunction of|loss of|death of|alters?|"
                r"swelling of|deposits? \w+ in) "
                r"(?:\w+ ){0,4}(?:brain|nerve cells?|neurons?|cerebral|cerebellum|cortex)\b",
            ),
        ),
        (
            r"\bcomplications?\b|\blead to\b|\bconsequences?\b|\bdangers?\b|\brisks\b",
            facet(
                "complication",
                r"\bcomplications?\b[^.]{0,60}\b(?:includ\w+|such as|are|is|like)\b|"
                r"\brisks?\b[^.]{0,60}\b(?:of|includ\w+|such as|are)\b|\blead(?:s|ing)? to\b|\bcan cause\b|"
                r"\bmay cause\b|\bresult(?:s|ing)? in\b|\bcan (?:also )?(?:damage|develop)\b",
            ),
        ),
        (
            r"\boutlook\b|\bprognosis\b|\blife expectancy\b|\bsurviv(?:e|al)\b|\bhow long .{0,20}\blive\b",
            facet(
                "prognosis",
                r"\bprognos|\boutlook\b|\bsurviv|\blife expectancy\b|\blife ?span\b|\bfatal\b|\brecover",
            ),
        ),
        (
            r"\bget(?:s|ting)? better(?: on (?:its|their) own)?\b|\bgo away(?: on (?:its|their) own)?\b",
            facet(
                "recovery",
                r"\b(?:improve|resolve|recover|disappear|subside)[sd]?\b|\bgo(?:es)? away\b|"
                r"\bget(?:s)? better\b|"
                r"\bspontaneous|\brecovery\b|\bremission",
            ),
        ),
        (
            r"\bcontagious\b|\binfectious\b|\bspread(?:s|ing)?\b|\btransmitted\b|\btransmission\b|\bcatch\b",
            facet(
                "spread",
                r"\bcontagious\b|\bspread|\btransmi|\bperson[- ]to[- ]person\b|\bcaught\b|\bcontact with\b",
            ),
        ),
        (
            r"\b(?:at )?what age\b|\bhow old\b|\bage of onset\b",
            facet(
                "age",
                r"\bage[sd]?\b|\bat birth\b|\bnewborn|\binfan(?:t|cy)|\bchildhood\b|\badulthood\b|"
                r"\badolescen|\bdecade|"
                r"\b(?:first|early|months?|years?) (?:of life|old)\b|\bcongenital|\bpuberty\b|\blate teens\b",
            ),
        ),
        (
            (
                r"\b(?:which |what )?parts? of (?:the|your) body(?: does it affect| is affected|"
                r" are affected)?\b|"
                r"\bwhat does it affect\b|\bwhich organs?(?: does it affect| are affected)?\b"
            ),
            facet(
                "body part",
                r"\b(?:skin|eyes?|ears?|heart|brain|lungs?|liver|kidneys?|bones?|muscles?|nerves?|"
                r"skeleton|skeletal|"
                r"limbs?|hands?|feet|fingers|toes|face|facial|skull|spine|spinal|teeth|hair|nails?|"
                r"blood|joints?|"
                r"nervous system|immune system|intestin\w+|stomach|retina|skin|throat|mouth|"
                r"genital\w*|hormon\w+)\b",
            ),
        ),
        (
            r"\b(?:a |the )?newborns?\b|\b(?:a )?bab(?:y|ies)\b|\binfants?\b",
            facet(
                "newborn",
                (
                    r"\bnewborns?\b|(?<!present )\bat birth\b|\bneonat|\bborn with\b|\bfirst (?:days?|"
                    r"weeks?) of life\b"
                ),
            ),
        ),
        (
            r"\bstarts?\b|\bbegins?\b|\bappears?\b|\bonset\b|\bset in\b",
            facet(
                "onset",
                (
                    r"\bstart|\bbeg(?:ins?|an)\b|\bonset\b|\bappear|\bdevelop|\bnoticed?\b|\bat birth\b|"
                    r"\bpresents?\b"
                ),
            ),
        ),
        (
            r"\blooks? like\b",
            facet(
                "appearance",
                r"\bfeatures?\b|\bcharacteri[sz]ed\b|\bappear(?:s|ance)?\b|\bfac(?:e|ial)\b|"
                r"\blooks?\b|\bskin\b|\bshaped?\b|"
                r"\bsmall (?:head|eyes?|jaw|mouth)\b|\bsymptoms\b|\bdeform",
            ),
        ),
        (
            r"\bhow (?:do|does|did) .{0,40}\bwork(?:s|ed)?\b",
            facet(
                "mechanism",
                r"\bworks? by\b|\bby \w+ing\b|\bwhen\b|\bso that\b|\ballow|\bhelps?\b|\bcarr(?:y|"
                r"ies)\b|\bus(?:es?|ing)\b|"
                r"\bconvert|\bthrough\b|\bcontrols?\b|\bsends?\b|\bproduc",
            ),
        ),
        (
            r"\bother names?(?: does)?\b|\balso called\b|\balso known as\b|\bgo by\b|\bsynonyms?\b",
            facet(
                "names",
                (
                    r"\b(?:also|sometimes|formerly|previously) (?:called|known|referred)\b|\bsynonym|"
                    r"\bother names\b"
                ),
            ),
        ),
        (
            r"\bresearch (?:is )?(?:being )?(?:done )?\b|\bstudies\b|\bscientists (?:doing|working)\b",
            facet(
                "research",
                r"\bresearch|\bstud(?:y|ies|ying)\b|\bclinical trials?\b|\binvestigat|\bscientists\b",
            ),
        ),
        (
            r"\bdiffer(?:s|ent|ence|ences)?\b",
            facet("difference", r"\bdiffer|\bunlike\b|\bwhereas\b|\bwhile\b|\bcompared\b|\bdistinguish"),
        ),
        (
            r"\bused? for\b|\bpurpose\b|\buses of\b|\bgood for\b",
            facet("use", r"\buse[sd]?\b|\busing\b|\bpurpose\b|\bhelps?\b|\bin order to\b|\bdesigned to\b"),
        ),
        (
            r"\bbenefits?\b|\badvantages?\b",
            facet("benefit", r"\bbenefit|\badvantage|\bhelps?\b|\bimprove|\breduce"),
        ),
        (
            r"\binvent(?:ed|or)?\b|\bdiscover(?:ed|y)?\b",
            facet("discovery", r"\binvent|\bdiscover|\bdevised\b|\bdeveloped\b"),
        ),
        (
            (
                r"\bfound(?:ed|er|ers|ing)\b|\bestablish(?:ed)?\b|\bcreated\b|\blaunched\b|\bstarted\b|"
                r"\bbuilt\b|\bintroduced\b"
            ),
            facet(
                "founding",
                (
                    r"\bfounded\b|\bestablished\b|\bcreated\b|\blaunched\b|\bstarted\b|\bbuilt\b|"
                    r"\bopened\b|\bbegan\b|\bintroduced\b|\breleased\b"
                ),
            ),
        ),
        (
            r"\bwhere (?:is|are|was|were) \u27e8\u27e9 (?:located|found)?|\blocated\b",
            facet(
                "place",
                (
                    r"\b(?:located|lies|situated|found|stands) (?:in|on|at|near|along|between|within)\b|"
                    r"\bis an? [a-z ]+ in [A-Z]"
                ),
            ),
        ),
        (
            r"\bskin changes\b",
            facet(
                "skin",
                r"\brash|\blesions?\b|\bblister|\bpigment|\bpatch|\bscal[ye]|\bbumps?\b|"
                r"\bplaques?\b|\bspots?\b|"
                r"\byellow|\bskin (?:is|becomes|may|can|changes|turns|thickens?)\b",
            ),
        ),
        (
            r"\bfamous\b|\bknown for\b|\bimportant\b|\bimportance\b|\bsignifican(?:t|ce)\b",
            facet(
                "importance",
                (
                    r"\bfamous\b|\bknown (?:for|as)\b|\bimportan|\bsignifican|\blargest\b|\bfirst\b|"
                    r"\bbest\b|\bmajor\b"
                ),
            ),
        ),
    )
)

DEFINITION: Final = facet(
    "definition",
    r"(?:\s*\([^)]{1,80}\))?(?:,[^,.]{1,60},)?\s+(?:is|are|was|were|means?|refers? to|describes?)\s+"
    r"(?!the (?:most (?:common|frequent)|leading|main|usual|same|cause|result)\b)"
    r"(?!(?:an? )?(?:[a-z-]+,? ){0,4}"
    r"(?:condition|disorder|disease|problem|illness|syndrome|abnormality|emergency|emergencie)s?"
    r"(?:[.;,:]| although| but| whose (?:exact )?(?:incidence|prevalence)| of the [a-z ]{3,20}[.]|"
    r" that (?:\w+ly |most often )?"
    r"(?:affects?\b[^.]{0,45}[.]|(?:develops?|occurs?|begins?|appears?|starts?|varies)\b)))"
    r"(?!an? controversial)"
    r"(?:(?:also |generally |usually |commonly |typically |often )?(?:an?|the|any|one of|when|"
    r"defined as|characterized by|characterised by|that|where|in which)\b|"
    r"(?:[a-z-]+ ){0,3}(?:pressure|pain|inflammation|swelling|loss|damage|growth|bleeding|weakness|injury|"
    r"injuries|infection|cancer|failure|sores|cells|sacs|veins|growths|lumps|bumps|tumors|tumours|disorders|"
    r"diseases|infections|conditions|procedures|tests|problems|movements|masses|cysts|substances|drugs|"
    r"medicines|people|animals)\b)",
    needs_subject=True,
)
