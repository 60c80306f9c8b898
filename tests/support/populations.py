"""Test populations for matching: RIS and PACS lists with known truth, from two generators with different habits.

``riverside`` writes as an English, German and Dutch speaking network does; the rules were tuned on it. ``harbour`` is a port city
(Spanish, Portuguese, Vietnamese, Chinese, Korean, Arabic, Slavic and French names, other clerks, other interfaces); it is held out:
nothing is ever tuned on it. Everything is drawn from a seed.
"""

# ruff: noqa: E501 - tables of names
from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

Row = dict[str, str]


@dataclass(slots=True)
class Patients:
    """Two lists and the truth between them: ``truth`` maps a PACS key to the RIS keys of that very person."""

    pacs: list[Row] = field(default_factory=list)
    ris: list[Row] = field(default_factory=list)
    truth: dict[str, set[str]] = field(default_factory=dict)

    def pairs(self) -> set[tuple[str, str]]:
        """Give all true pairs."""
        return {(pacs, ris) for pacs, found in self.truth.items() for ris in found}


@dataclass(slots=True)
class Human:
    """A person as they are; clerks then write them down."""

    family: str
    given: str
    middle: str
    born: date
    sex: str
    mrn: str
    issuer: str = ""
    address: str = ""
    phone: str = ""
    suffix: str = ""
    culture: str = ""


_ENGLISH = [
    "Smith",
    "Jones",
    "Williams",
    "Brown",
    "Taylor",
    "Davies",
    "Evans",
    "Thomas",
    "Johnson",
    "Roberts",
    "Walker",
    "Wright",
    "Robinson",
    "Thompson",
    "White",
    "Hughes",
    "Edwards",
    "Green",
    "Hall",
    "Wood",
    "Harris",
    "Martin",
    "Jackson",
    "Clarke",
    "Clark",
    "Turner",
    "Hill",
    "Cooper",
    "Ward",
    "Morris",
    "Moore",
    "Lee",
    "King",
    "Baker",
    "Harrison",
    "Allen",
    "Mitchell",
    "Scott",
    "Phillips",
    "Adams",
    "Campbell",
    "Parker",
    "O'Brien",
    "O'Connor",
    "Murphy",
    "Kelly",
    "McDonald",
    "MacLeod",
    "McCarthy",
    "Fitzgerald",
    "Stewart",
    "Reid",
    "Carter",
    "Shaw",
    "Bell",
    "Murray",
    "Palmer",
    "Cox",
    "Richardson",
    "Fox",
    "Gray",
    "Rose",
]
_GERMAN = [
    "Müller",
    "Schmidt",
    "Schneider",
    "Fischer",
    "Weber",
    "Meyer",
    "Wagner",
    "Becker",
    "Schulz",
    "Hoffmann",
    "Schäfer",
    "Koch",
    "Bauer",
    "Richter",
    "Klein",
    "Wolf",
    "Schröder",
    "Neumann",
    "Schwarz",
    "Zimmermann",
    "Braun",
    "Krüger",
    "Hofmann",
    "Hartmann",
    "Lange",
    "Schmitt",
    "Werner",
    "Krause",
    "Meier",
    "Lehmann",
    "Köhler",
    "Herrmann",
    "König",
    "Walter",
    "Mayer",
    "Huber",
    "Kaiser",
    "Fuchs",
    "Peters",
    "Möller",
    "Weiß",
    "Jung",
    "Hahn",
    "Vogel",
    "Günther",
    "Böhm",
    "Groß",
    "Schütz",
    "Jäger",
    "Baumgärtner",
]
_DUTCH = ["de Jong", "Jansen", "de Vries", "van den Berg", "van Dijk", "Bakker", "Janssen", "Visser", "Smit", "Meijer", "de Boer", "Mulder", "de Groot",
          "Bos", "Vos", "Peters", "Hendriks", "van Leeuwen", "Dekker", "Brouwer", "de Wit", "Dijkstra", "Smits", "de Graaf", "van der Meer", "van der Linden",
          "Kok", "Jacobs", "de Haan", "Vermeulen", "van den Heuvel", "van der Veen", "van den Broek", "de Bruijn", "van der Heijden"]  # fmt: skip
_SPANISH = [
    "García",
    "Rodríguez",
    "González",
    "Fernández",
    "López",
    "Martínez",
    "Sánchez",
    "Pérez",
    "Gómez",
    "Martín",
    "Jiménez",
    "Hernández",
    "Ruiz",
    "Díaz",
    "Moreno",
    "Muñoz",
    "Álvarez",
    "Romero",
    "Gutiérrez",
    "Alonso",
    "Navarro",
    "Torres",
    "Domínguez",
    "Ramos",
    "Vázquez",
    "Ramírez",
    "Gil",
    "Serrano",
    "Molina",
    "Blanco",
    "Morales",
    "Suárez",
    "Ortega",
    "Castro",
    "Delgado",
    "Ortiz",
    "Marín",
    "Rubio",
    "Núñez",
    "Medina",
    "Iglesias",
    "Castillo",
    "Cortés",
    "Garrido",
    "Santos",
    "Lozano",
    "Guerrero",
    "Cano",
    "Prieto",
    "Méndez",
    "Cruz",
    "Flores",
    "Herrera",
    "Peña",
    "León",
    "Márquez",
    "Vidal",
    "Gallego",
    "Silva",
    "Pereira",
    "Oliveira",
    "Costa",
    "Ferreira",
    "Rodrigues",
    "Almeida",
    "Carvalho",
    "Teixeira",
    "Ribeiro",
]
_ARABIC = [
    "Al-Hassan",
    "Al-Masri",
    "Haddad",
    "Khalil",
    "Mansour",
    "Hussein",
    "Saleh",
    "Ibrahim",
    "Abdullah",
    "Khoury",
    "Nasser",
    "Aziz",
    "Hamdan",
    "El-Sayed",
    "Farouk",
    "Mahmoud",
    "Suleiman",
    "Darwish",
    "Qasim",
    "Shaheen",
    "Barakat",
    "Awad",
    "Bakr",
    "Abdelrahman",
    "Zaki",
    "Amin",
    "Rashid",
    "Habib",
    "Najjar",
    "Ben-Ali",
    "Bouzid",
    "Cherif",
    "Toumi",
    "Trabelsi",
]
_VIETNAMESE = (
    ["Nguyễn"] * 38
    + ["Trần"] * 11
    + ["Lê"] * 9
    + ["Phạm"] * 7
    + ["Huỳnh"] * 5
    + ["Võ", "Vũ", "Đặng", "Bùi", "Đỗ", "Hồ", "Ngô", "Dương", "Lý"] * 3
)
_CHINESE = (
    ["Wang", "Li", "Zhang", "Liu", "Chen"] * 7
    + ["Yang", "Huang", "Zhao", "Wu", "Zhou"] * 3
    + ["Xu", "Sun", "Ma", "Zhu", "Hu", "Guo", "He", "Lin", "Gao", "Luo", "Zheng", "Liang", "Xie", "Song", "Tang", "Cao"]
)
_KOREAN = (
    ["Kim"] * 21
    + ["Lee"] * 15
    + ["Park"] * 8
    + ["Choi", "Jung"] * 4
    + ["Kang", "Cho", "Yoon", "Jang", "Lim", "Han", "Oh", "Seo", "Shin", "Kwon", "Hwang", "Ahn", "Song", "Ryu", "Hong"]
)
_SLAVIC = [
    "Kowalski",
    "Nowak",
    "Wiśniewski",
    "Wójcik",
    "Kamiński",
    "Lewandowski",
    "Zieliński",
    "Szymański",
    "Dąbrowski",
    "Kozłowski",
    "Novák",
    "Svoboda",
    "Dvořák",
    "Černý",
    "Procházka",
    "Horvat",
    "Kovačević",
    "Babić",
    "Marić",
    "Jurić",
    "Ivanov",
    "Petrov",
    "Sidorov",
    "Smirnov",
    "Kuznetsov",
    "Popov",
    "Vasiliev",
    "Shevchenko",
    "Bondarenko",
    "Tkachenko",
    "Kovalenko",
]
_FRENCH = [
    "Martin",
    "Bernard",
    "Dubois",
    "Thomas",
    "Robert",
    "Richard",
    "Petit",
    "Durand",
    "Leroy",
    "Moreau",
    "Simon",
    "Laurent",
    "Lefebvre",
    "Michel",
    "Garcia",
    "Lefèvre",
    "Girard",
    "Müller",
    "Benoît",
    "Gérard",
]

_GIVEN = {
    "english": (
        ["James", "John", "Robert", "Michael", "William", "David", "Richard", "Joseph", "Thomas", "Charles", "Christopher", "Daniel", "Matthew", "Anthony", "Mark", "Donald", "Steven", "Paul", "Andrew", "Joshua", "Kenneth", "Kevin", "Brian", "George", "Edward", "Ronald", "Timothy", "Jason", "Jeffrey", "Ryan", "Jacob", "Gary", "Nicholas", "Eric", "Jonathan", "Stephen", "Larry", "Justin", "Scott", "Brandon"],
        ["Mary", "Patricia", "Jennifer", "Linda", "Elizabeth", "Barbara", "Susan", "Jessica", "Sarah", "Karen", "Lisa", "Nancy", "Betty", "Margaret", "Sandra", "Ashley", "Kimberly", "Emily", "Donna", "Michelle", "Carol", "Amanda", "Dorothy", "Melissa", "Deborah", "Stephanie", "Rebecca", "Sharon", "Laura", "Cynthia", "Kathleen", "Amy", "Angela", "Shirley", "Anna", "Brenda", "Pamela", "Emma", "Nicole", "Helen"],
    ),
    "german": (
        ["Peter", "Michael", "Thomas", "Andreas", "Wolfgang", "Klaus", "Jürgen", "Günter", "Stefan", "Christian", "Uwe", "Werner", "Horst", "Frank", "Dieter", "Manfred", "Gerhard", "Hans", "Bernd", "Thorsten", "Mathias", "Helmut", "Walter", "Heinz", "Martin", "Jörg", "Rolf", "Jens", "Sven", "Alexander", "Jan", "Rainer", "Holger", "Karl", "Jochen"],
        ["Maria", "Ursula", "Monika", "Petra", "Elisabeth", "Sabine", "Renate", "Helga", "Karin", "Brigitte", "Ingrid", "Erika", "Andrea", "Gisela", "Claudia", "Susanne", "Gabriele", "Christa", "Christine", "Hildegard", "Anna", "Birgit", "Barbara", "Gertrud", "Heike", "Marianne", "Elke", "Martina", "Angelika", "Irmgard", "Käthe", "Jana", "Katharina"],
    ),
    "dutch": (
        ["Johannes", "Jan", "Cornelis", "Hendrik", "Pieter", "Willem", "Petrus", "Jacobus", "Gerrit", "Kees", "Piet", "Sander", "Bram", "Daan", "Ruben", "Thijs", "Joost", "Jeroen", "Maarten", "Niels"],
        ["Johanna", "Maria", "Cornelia", "Hendrika", "Elisabeth", "Wilhelmina", "Anna", "Catharina", "Margaretha", "Sanne", "Lotte", "Femke", "Anouk", "Marieke", "Ingrid", "Saskia", "Esther", "Els", "Anneke"],
    ),
    "spanish": (
        ["José", "Antonio", "Juan", "Manuel", "Francisco", "Luis", "Javier", "Miguel", "Carlos", "Ángel", "Pedro", "Rafael", "Alejandro", "Daniel", "Fernando", "Alberto", "Álvaro", "Diego", "Jesús", "Pablo", "Sergio", "João", "Paulo"],
        ["María", "Carmen", "Ana", "Isabel", "Dolores", "Pilar", "Teresa", "Rosa", "Josefa", "Cristina", "Laura", "Elena", "Antonia", "Marta", "Francisca", "Lucía", "Mercedes", "Luisa", "Rosario", "Concepción", "Beatriz"],
    ),
    "arabic": (
        ["Mohammed", "Ahmed", "Ali", "Hassan", "Hussein", "Omar", "Khaled", "Youssef", "Ibrahim", "Mahmoud", "Mustafa", "Abdullah", "Tarek", "Samir", "Karim", "Bilal", "Hamza", "Said", "Walid", "Nabil"],
        ["Fatima", "Aisha", "Maryam", "Zainab", "Khadija", "Layla", "Amina", "Nour", "Huda", "Salma", "Rania", "Samira", "Yasmin", "Nadia", "Hanan", "Iman", "Souad", "Latifa"],
    ),
    "vietnamese": (["Anh", "Minh", "Hùng", "Dũng", "Tuấn", "Nam", "Hải", "Long", "Thành", "Đức", "Quang", "Khoa", "Phúc", "Bình", "Sơn", "Trung"], ["Lan", "Hoa", "Hương", "Linh", "Mai", "Thảo", "Hà", "Phương", "Trang", "Ngọc", "Thu", "Yến", "Nga", "Vy", "Trinh", "Hạnh"]),
    "chinese": (
        ["Wei", "Jun", "Ming", "Jian", "Hao", "Lei", "Qiang", "Bo", "Tao", "Peng", "Chao", "Yong", "Jie", "Feng", "Bin", "Xiaodong", "Jianguo", "Zhiqiang", "Wenhao", "Guoqiang", "Zihan", "Haoran"],
        ["Fang", "Na", "Min", "Jing", "Li", "Ying", "Xiu", "Yan", "Juan", "Hong", "Mei", "Ling", "Hui", "Xue", "Xiaomei", "Yuting", "Meiling", "Lihua", "Xiuying", "Guiying", "Yuxin", "Jiayi"],
    ),
    "korean": (
        [a + " " + b for a in ["Min", "Seung", "Jae", "Dong", "Hyun", "Young", "Sang", "Jun", "Tae", "Ji"] for b in ["ho", "jun", "woo", "su", "hyun", "min", "seok", "hwan"]],
        [a + " " + b for a in ["Ji", "Soo", "Min", "Eun", "Hye", "Young", "Mi", "Yeon", "Su", "Hee"] for b in ["young", "hee", "jin", "kyung", "ah", "sun", "yeon", "eun"]],
    ),
    "slavic": (
        ["Jan", "Piotr", "Andrzej", "Krzysztof", "Stanisław", "Tomasz", "Paweł", "Marcin", "Jiří", "Petr", "Tomáš", "Ivan", "Sergei", "Dmitri", "Alexei", "Vladimir", "Nikolai", "Mykola", "Andriy", "Marko", "Luka"],
        ["Anna", "Maria", "Katarzyna", "Małgorzata", "Agnieszka", "Barbara", "Ewa", "Krystyna", "Jana", "Lenka", "Olga", "Natalia", "Tatiana", "Elena", "Svetlana", "Irina", "Oksana", "Ivana", "Petra"],
    ),
    "french": (
        ["Jean", "Pierre", "Michel", "André", "Philippe", "René", "Louis", "Alain", "Jacques", "Bernard", "Marcel", "Daniel", "Robert", "Henri", "Jean-Pierre", "Jean-Paul", "François", "Étienne"],
        ["Marie", "Jeanne", "Françoise", "Monique", "Catherine", "Nathalie", "Isabelle", "Jacqueline", "Anne", "Sylvie", "Martine", "Marie-Claire", "Anne-Sophie", "Hélène", "Chloé"],
    ),
}  # fmt: skip
_SYLLABLES = {
    "english": (["Ash", "Brad", "Cal", "Dun", "El", "Far", "Gren", "Hol", "Kir", "Lang", "Mel", "Nor", "Pem", "Rad", "Stan", "Thorn", "Wal", "Whit", "Hart", "Ber", "Cros", "Den"], ["ber", "ding", "ham", "ling", "ming", "ring", "wick", "more", "field", "shaw"], ["ton", "ley", "ford", "man", "well", "worth", "son", "by", "er", "s"]),
    "german": (["Alt", "Berg", "Dorn", "Eich", "Feld", "Gold", "Hirsch", "Kalt", "Lind", "Mohr", "Nuss", "Ober", "Reich", "Stein", "Trau", "Wald", "Zell", "Brand", "Dietz", "Koh"], ["en", "er", "el", "ling", "berg", "hof"], ["mann", "bauer", "meier", "hardt", "stein", "lein", "ner", "er", "huber", "bach"]),
    "dutch": (["Ver", "Oost", "Zuid", "Brink", "Kamp", "Wester", "Noord", "Veld", "Haver", "Koster", "Molen", "Groen", "Hoog", "Boom"], ["en", "er", "ing", "huis"], ["kamp", "man", "stra", "sma", "veld", "ma", "huis", "meijer"]),
    "spanish": (["Val", "Ar", "Cas", "Mon", "Sal", "Bar", "Cor", "Es", "Gua", "Ler", "Mal", "Oli", "Pala", "Quin", "Riv", "Sego", "Zam", "Vill"], ["a", "e", "i", "o", "en", "er", "tal", "mar"], ["ez", "ero", "ales", "eda", "illa", "ín", "ón", "ada", "uela", "eira"]),
    "slavic": (["Bog", "Wał", "Gór", "Kras", "Lip", "Maj", "Paw", "Rad", "Sad", "Tar", "Wit", "Zaw", "Mal", "Ost", "Bor", "Dub", "Brz", "Czer"], ["ow", "in", "ez", "an", "ik", "al"], ["ski", "icz", "ak", "ek", "owski", "enko", "ov", "ić", "ský", "ec"]),
    "arabic": (["Al-", "Abu", "El-", "Ben", ""], ["Hak", "Ras", "Kas", "Sal", "Mur", "Tah", "Jab", "Nad", "Faw", "Zar", "Had", "Qad", "Shar", "Bas"], ["im", "an", "id", "awi", "ouri", "ani", "eh", "oun", "a"]),
    "french": (["Beau", "Char", "Des", "Four", "Gau", "Lam", "Mar", "Per", "Roch", "Val", "Bour", "Cham", "Del", "Font"], ["a", "e", "i", "on", "er", "tier"], ["dier", "neau", "quet", "tin", "val", "court", "lier", "mont", "çon"]),
}  # fmt: skip


class Culture:
    """Draws names of one culture: a head of usual names and a long tail of rare ones."""

    def __init__(self, rng: random.Random, name: str, usual: list[str], tail: int) -> None:
        self.rng, self.name = rng, name
        rare = set()
        if name in _SYLLABLES:
            a, b, c = _SYLLABLES[name]
            for _ in range(20 * tail):
                if len(rare) >= tail:
                    break
                rare.add((rng.choice(a) + rng.choice(b) + rng.choice(c)).strip())
        self.usual, self.rare = usual, sorted(rare)
        self.males, self.females = _GIVEN[name]

    def family(self) -> str:
        """Draw a family name."""
        rng = self.rng
        if self.rare and rng.random() < 0.55:
            return self.rare[min(int(rng.paretovariate(0.7)) - 1, len(self.rare) * 10) % len(self.rare)]
        if self.name in ("vietnamese", "chinese", "korean"):
            return rng.choice(self.usual)
        return self.usual[int(len(self.usual) * rng.random() ** 1.6)]

    def given(self, sex: str) -> str:
        """Draw a given name."""
        pool = self.males if sex == "M" else self.females
        return pool[int(len(pool) * self.rng.random() ** 1.3)]


def _typo(rng: random.Random, text: str) -> str:
    if len(text) < 3:
        return text
    i = rng.randrange(1, len(text))
    letter = rng.choice("abcdefghijklmnopqrstuvwxyz" if text.isalpha() or " " in text else "0123456789")
    kind = rng.random()
    if kind < 0.3:
        return text[:i] + text[i + 1 :]
    if kind < 0.55 and i + 1 < len(text):
        return text[:i] + text[i + 1] + text[i] + text[i + 2 :]
    if kind < 0.8:
        return text[:i] + letter + text[i + 1 :]
    return text[:i] + letter + text[i:]


def _digit_typo(rng: random.Random, text: str) -> str:
    digits = [i for i, c in enumerate(text) if c.isdigit()]
    if not digits:
        return text
    i = rng.choice(digits)
    j = i + 1
    if rng.random() < 0.4 and j < len(text) and text[j].isdigit() and text[j] != text[i]:
        return text[:i] + text[j] + text[i] + text[j + 1 :]
    return text[:i] + rng.choice([d for d in "0123456789" if d != text[i]]) + text[i + 1 :]


def _birth(rng: random.Random, today: date) -> date:
    age = min(max(rng.gauss(52, 23), 0), 101) if rng.random() < 0.9 else rng.random() * 5
    return today - timedelta(days=int(age * 365.25) + rng.randrange(365))


def _bad_date(rng: random.Random, born: date) -> str:
    text = born.strftime("%Y%m%d")
    for _ in range(20):
        kind = rng.random()
        if kind < 0.3 and born.day <= 12 and born.day != born.month:
            return f"{born.year:04d}{born.day:02d}{born.month:02d}"
        if kind < 0.45:
            return f"{born.year:04d}0101"
        wrong = _digit_typo(rng, text)
        try:
            date(int(wrong[:4]), int(wrong[4:6]), int(wrong[6:]))
        except ValueError:
            continue
        return wrong
    return text


_SHORT = {
    "William": "Bill", "Robert": "Bob", "Elizabeth": "Liz", "Margaret": "Peggy", "James": "Jim", "Michael": "Mike", "Katharina": "Kathi", "Johannes": "Hans",
    "Richard": "Dick", "Thomas": "Tom", "Christopher": "Chris", "Patricia": "Pat", "Susan": "Sue", "Johanna": "Hanna", "Cornelis": "Kees", "Hendrik": "Henk",
    "Francisco": "Paco", "José": "Pepe", "Dolores": "Lola", "Alexander": "Alex", "Joseph": "Joe", "Edward": "Ted", "Charles": "Chuck", "Sergei": "Serhiy",
}  # fmt: skip
_ARABIC_SPELLINGS = {
    "Mohammed": ["Muhammad", "Mohamed", "Mohammad", "Mohamad"], "Ahmed": ["Ahmad"], "Hassan": ["Hasan"], "Hussein": ["Hussain", "Hossein", "Husein"], "Omar": ["Umar"],
    "Khaled": ["Khalid"], "Youssef": ["Yusuf", "Yousef", "Yousuf"], "Mahmoud": ["Mahmud"], "Mustafa": ["Mostafa", "Moustafa"], "Said": ["Saeed"], "Fatima": ["Fatma", "Fatimah"],
    "Aisha": ["Aicha", "Ayesha"], "Abdullah": ["Abdallah", "Abdulla"], "Zainab": ["Zeinab"], "Suleiman": ["Sulaiman", "Soliman"], "Haddad": ["Hadad"], "Qasim": ["Kassem", "Qassim"],
    "Mansour": ["Mansur"], "Saleh": ["Salih"], "Khoury": ["Khouri"], "Rashid": ["Rasheed"], "Aziz": ["Azeez"], "Nasser": ["Nasir"],
}  # fmt: skip
_ASIAN_SPELLINGS = {
    "Zhang": "Chang",
    "Xu": "Hsu",
    "Zhou": "Chow",
    "Huang": "Wong",
    "Lee": "Yi",
    "Park": "Pak",
    "Choi": "Choe",
    "Jung": "Chung",
    "Cai": "Tsai",
    "Xie": "Hsieh",
}


def _ascii(text: str, umlauts: Callable[[str], str] | None = None) -> str:
    import unicodedata

    if umlauts:
        text = umlauts(text)
    text = text.replace("đ", "d").replace("Đ", "D").replace("ł", "l").replace("Ł", "L").replace("ß", "ss")
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def _two_letters(text: str) -> str:
    for a, b in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("Ä", "Ae"), ("Ö", "Oe"), ("Ü", "Ue"), ("ß", "ss")):
        text = text.replace(a, b)
    return text


@dataclass(frozen=True, slots=True)
class Habits:
    """How a hospital network writes: rates of each thing that goes wrong, and which cultures live there."""

    cultures: tuple[tuple[str, float], ...]
    name_typo: float = 0.03
    both_typo: float = 0.004
    swapped: float = 0.02
    split: float = 0.02
    no_middle: float = 0.4
    short_form: float = 0.03
    married: float = 0.03
    date_wrong: float = 0.025
    date_missing: float = 0.01
    date_random: float = 0.003
    sex_missing: float = 0.03
    sex_wrong: float = 0.005
    id_missing: float = 0.04
    id_typo: float = 0.015
    id_prefix: float = 0.03
    id_unpadded: float = 0.05
    other_issuer: float = 0.02
    overlay: float = 0.004
    initial: float = 0.015
    honorific: float = 0.02
    junk: float = 0.003
    newborn: float = 0.003
    twins: float = 0.02
    juniors: float = 0.015
    namesakes: float = 0.003
    second_row: float = 0.03
    issuer_known: float = 0.7
    extra: bool = True


RIVERSIDE = Habits((("english", 0.55), ("german", 0.3), ("dutch", 0.15)))
HARBOUR = Habits(
    (("spanish", 0.3), ("arabic", 0.16), ("vietnamese", 0.08), ("chinese", 0.12), ("korean", 0.08), ("slavic", 0.14), ("french", 0.12)),
    name_typo=0.04, both_typo=0.003, swapped=0.04, split=0.035, no_middle=0.5, short_form=0.01, married=0.015, date_wrong=0.03, date_missing=0.015, date_random=0.002,
    sex_missing=0.06, id_missing=0.06, id_typo=0.02, id_prefix=0.05, id_unpadded=0.1, other_issuer=0.03, overlay=0.006, initial=0.01, honorific=0.01, junk=0.005,
    newborn=0.005, twins=0.03, juniors=0.02, namesakes=0.004, second_row=0.05, issuer_known=0.4, extra=False,
)  # fmt: skip
_USUAL = {
    "english": _ENGLISH, "german": _GERMAN, "dutch": _DUTCH, "spanish": _SPANISH, "arabic": _ARABIC, "vietnamese": _VIETNAMESE, "chinese": _CHINESE, "korean": _KOREAN,
    "slavic": _SLAVIC, "french": _FRENCH,
}  # fmt: skip


class _World:
    """One hospital network: its people, and how its clerks write them down."""

    def __init__(self, habits: Habits, seed: int, tail: int) -> None:
        self.habits, self.rng = habits, random.Random(seed)
        self.cultures = {name: Culture(self.rng, name, _USUAL[name], tail) for name, _ in habits.cultures}
        self.today = date(2024, 6, 1)
        self.number = 100_000

    def mrn(self) -> str:
        """Give the next patient ID."""
        self.number += self.rng.choice((1, 1, 1, 2, 7, 13))
        return f"{self.number:08d}"

    def human(self) -> Human:
        """Draw a stranger."""
        rng = self.rng
        names, weights = zip(*self.habits.cultures, strict=True)
        culture = self.cultures[rng.choices(names, weights)[0]]
        sex = rng.choice("MF")
        family = culture.family()
        middle = ""
        if culture.name == "spanish":
            family += " " + culture.family()
            middle = culture.given(sex) if rng.random() < 0.3 else ""
        elif culture.name == "vietnamese":
            middle = ("Văn" if sex == "M" else "Thị") if rng.random() < 0.6 else rng.choice(culture.females)
        elif culture.name == "arabic":
            middle = culture.given("M") if rng.random() < 0.4 else ""
        elif culture.name in ("english", "german", "dutch") and rng.random() < 0.45:
            middle = culture.given(sex)
        street = (
            rng.choice(("Mill", "High", "Park", "Station", "Church", "Harbour", "Castle"))
            + " "
            + rng.choice(("Road", "Street", "Lane"))
        )
        born = _birth(rng, self.today)
        if rng.random() < 0.01:
            born = born.replace(month=1, day=1)
        return Human(
            family,
            culture.given(sex),
            middle,
            born,
            sex,
            self.mrn(),
            "",
            f"{rng.randrange(1, 300)} {street}",
            f"0{rng.randrange(10**8, 10**9)}",
            "",
            culture.name,
        )

    def people(self, count: int) -> list[Human]:
        """Draw a population with its families."""
        rng, h = self.rng, self.habits
        found: list[Human] = []
        while len(found) < count:
            human = self.human()
            found.append(human)
            if rng.random() < h.twins:
                sex = human.sex if rng.random() < 0.7 else ("F" if human.sex == "M" else "M")
                culture = self.cultures[human.culture]
                given = culture.given(sex)
                if given != human.given:
                    found.append(
                        replace(human, given=given, sex=sex, mrn=self.mrn(), middle=human.middle if rng.random() < 0.5 else "")
                    )
            if human.sex == "M" and rng.random() < h.juniors and human.born.year < 1985:
                born = human.born + timedelta(days=rng.randrange(19 * 365, 36 * 365))
                if rng.random() < 0.1:
                    born = date(human.born.year + 30, human.born.month, min(human.born.day, 28))
                found.append(replace(human, born=born, mrn=self.mrn(), suffix=rng.choice(("", "", "Jr"))))
            if rng.random() < h.namesakes:
                other = self.human()
                found.append(
                    replace(
                        other,
                        family=human.family,
                        given=human.given,
                        middle=human.middle,
                        born=human.born,
                        sex=human.sex,
                        culture=human.culture,
                    )
                )
        return found[:count]

    def written(self, human: Human, key: str, *, careful: bool, with_ids: bool) -> Row:
        """Write a person down. The RIS writes carefully, the old PACS does not."""
        rng, h = self.rng, self.habits
        scale = 0.15 if careful else 1.0
        family, given, middle = human.family, human.given, human.middle

        def happens(rate: float) -> bool:
            return rng.random() < rate * scale

        if happens(h.both_typo):
            family, given = _typo(rng, family), _typo(rng, given)
        elif happens(h.name_typo):
            if rng.random() < 0.5:
                family = _typo(rng, family)
            else:
                given = _typo(rng, given)
        if happens(h.short_form):
            given = _SHORT.get(given, given)
        if human.culture == "arabic" and not careful:
            given = rng.choice([given, *_ARABIC_SPELLINGS.get(given, [])])
            family = rng.choice([family, *_ARABIC_SPELLINGS.get(family, [])])
        if human.culture in ("chinese", "korean"):
            if happens(0.1):
                family = _ASIAN_SPELLINGS.get(family, family)
            if human.culture == "korean" and rng.random() < 0.5:
                given = given.replace(" ", rng.choice(("", "-")))
        if human.culture == "spanish" and happens(0.25):
            family = family.split()[0]
        elif human.culture == "spanish" and happens(0.15):
            family = family.replace(" ", "-")
        if human.culture == "dutch" and happens(0.3) and " " in family:
            family = rng.choice((family.replace(" ", ""), family.split()[-1]))
        if human.sex == "F" and happens(h.married):
            new = self.cultures[human.culture].family()
            family = rng.choice((new, f"{family}-{new}", f"{new} {family}"))
        if happens(h.no_middle):
            middle = ""
        elif middle and happens(0.3):
            middle = middle[0]
        if happens(h.initial):
            given, middle = given[0], ""
        if careful:
            family, given, middle = family, given, middle
        else:
            style = rng.random()
            family, given, middle = (_ascii(x, _two_letters if style < 0.4 else None) for x in (family, given, middle))
            if rng.random() < 0.8:
                family, given, middle = family.upper(), given.upper(), middle.upper()
        suffix = human.suffix if rng.random() < 0.6 else ""
        name = f"{family}^{given}^{middle}^^{suffix}".rstrip("^")
        if happens(h.swapped):
            name = f"{given}^{family}"
        elif happens(h.split):
            name = rng.choice(
                (f"{family} {given}", f"{family}, {given} {middle}".strip(), f"{family} {given}^", f"{given} {family}")
            )
        elif happens(h.honorific):
            name = rng.choice((f"{family}^{given}^^DR", f"MR {family}^{given}", f"{family}^{given}^{middle}^Mrs."))
        born = human.born.strftime("%Y%m%d")
        if (self.today - human.born).days < 60 and happens(0.5):
            name = rng.choice((f"BABY BOY OF {family}", f"{family}^BABY GIRL", f"{family}^BABY"))
        if happens(h.date_missing):
            born = rng.choice(("", "19000101"))
        elif happens(h.date_random):
            born = _birth(rng, self.today).strftime("%Y%m%d")
        elif happens(h.date_wrong):
            born = _bad_date(rng, human.born)
        sex = human.sex
        if happens(h.sex_missing):
            sex = rng.choice(("", "O", "U"))
        elif happens(h.sex_wrong):
            sex = "F" if sex == "M" else "M"
        row = {
            "key": key,
            "PatientID": "",
            "IssuerOfPatientID": "",
            "PatientName": name,
            "PatientBirthDate": born,
            "PatientSex": sex,
        }
        if with_ids:
            row["PatientID"], row["IssuerOfPatientID"] = self._id(human, careful=careful)
        if h.extra:
            row["PatientAddress"] = human.address if rng.random() > 0.25 * scale else ""
            row["PatientTelephoneNumbers"] = human.phone if rng.random() > 0.35 * scale else ""
        return row

    def _id(self, human: Human, *, careful: bool) -> tuple[str, str]:
        rng, h = self.rng, self.habits
        if careful:
            return human.mrn, "MAIN"
        issuer = "MAIN" if rng.random() < h.issuer_known else ""
        draw = rng.random()
        if draw < h.id_missing:
            return "", ""
        if draw < h.id_missing + h.other_issuer:
            return f"{rng.randrange(100_000, self.number):08d}", "EAST" if rng.random() < 0.7 else ""
        mrn = human.mrn
        if rng.random() < h.id_typo:
            mrn = _digit_typo(rng, mrn)
        if rng.random() < h.id_unpadded:
            mrn = mrn.lstrip("0")
        if rng.random() < h.id_prefix:
            mrn = rng.choice(("H-", "MRN", "A")) + mrn
        return mrn, issuer


def _population(habits: Habits, n_pacs: int, n_ris: int, seed: int, *, ids: bool, shared: float, tail: int) -> Patients:
    world = _World(habits, seed, tail)
    rng = world.rng
    n_shared = int(n_pacs * shared)
    everybody = world.people(n_shared + (n_pacs - n_shared) + max(n_ris - n_shared, 0))
    rng.shuffle(everybody)
    both, only_pacs = everybody[:n_shared], everybody[n_shared:n_pacs]
    only_ris = everybody[n_pacs:]
    found = Patients()
    for human in [*both, *only_ris]:
        found.ris.append(world.written(human, f"r{len(found.ris)}", careful=True, with_ids=ids))
    keys = {id(human): f"r{i}" for i, human in enumerate(both)}
    for human in [*both, *only_pacs]:
        copies = 1 + (rng.random() < habits.second_row)
        for _ in range(copies):
            key = f"p{len(found.pacs)}"
            row = world.written(human, key, careful=False, with_ids=ids)
            if ids and rng.random() < habits.overlay:
                row["PatientID"] = rng.choice(both).mrn
                row["IssuerOfPatientID"] = rng.choice(("MAIN", ""))
            if rng.random() < habits.junk:
                row["PatientName"] = rng.choice(("TEST^PATIENT", "PHANTOM^WATER", "QA^DAILY", "ZZTEST^ANNA"))
                found.pacs.append(row)
                continue
            found.pacs.append(row)
            found.truth[key] = {keys[id(human)]} if id(human) in keys else set()
    rng.shuffle(found.pacs)
    rng.shuffle(found.ris)
    return found


def riverside(n_pacs: int, n_ris: int, seed: int = 1, *, ids: bool = True, shared: float = 0.9) -> Patients:
    """Draw two lists of the network that the rules were tuned on."""
    return _population(RIVERSIDE, n_pacs, n_ris, seed, ids=ids, shared=shared, tail=4_000)


def harbour(n_pacs: int, n_ris: int, seed: int = 1, *, ids: bool = True, shared: float = 0.85) -> Patients:
    """Draw two lists of the network that is held out: nothing is tuned on it."""
    return _population(HARBOUR, n_pacs, n_ris, seed, ids=ids, shared=shared, tail=2_500)
