"""Prompts built in code: chat, code, maths and rewriting, in many wordings. Seeded; ASCII only."""

TOPICS = """volcanoes|the Roman Empire|photosynthesis|jazz music|black holes|sourdough bread|chess openings|the water cycle|
electric cars|the French Revolution|coral reefs|machine learning|meditation|the stock market|honey bees|the Great Wall of China|
vaccines|Shakespeare|renewable energy|coffee|the human heart|dinosaurs|space travel|gardening|public speaking|climate change|
the solar system|knitting|cryptography|sleep|the Silk Road|antibiotics|penguins|bicycles|democracy|the printing press|earthquakes|
opera|time management|gravity|whales|inflation|the immune system|poetry|marathon running|the internet|glaciers|nutrition|
origami|the Industrial Revolution|tea|lightning|ancient Egypt|painting with watercolours|batteries|the moon|cheese|teamwork|
tides|rainforests|negotiation|stars|memory|recycling|comets|yoga|impressionism|the nervous system|castles|fermentation|
public libraries|rockets|wolves|budgeting|language learning|bridges|the atom|friendship|mountains|robots|spices|violins""".replace("\n", "").split("|")
PEOPLE = "Anna|Ben|Carla|David|Emma|Felix|Grace|Henry|Ines|James|Kim|Lucas|Maria|Noah|Olivia|Paul|Rosa|Sam|Tina|Victor".split("|")
PLACES = "Paris|Tokyo|New York|a small village|Iceland|the seaside|Rome|the mountains|London|Kenya|a forest|Lisbon".split("|")
THINGS = "apples|books|marbles|stickers|coins|pencils|oranges|cards|shells|cookies|tickets|stamps|balloons|bottles".split("|")
AUDIENCES = "a child|a beginner|an expert|a student|my grandmother|a busy manager|a teenager".split("|")
ADJECTIVES = "short|clear|friendly|detailed|funny|formal|simple|persuasive|poetic|practical".split("|")
LANGUAGES = "Python|JavaScript|C|Java|Go|Rust|SQL|Bash|C++|HTML".split("|")
TASKS = """reverses a string|checks whether a number is prime|computes the factorial of n|sorts a list of numbers|
counts the words in a text|finds the largest element of a list|removes duplicates from a list|merges two sorted lists|
computes the Fibonacci sequence|checks whether a string is a palindrome|reads a file line by line|parses a CSV file|
computes the average of a list|converts Celsius to Fahrenheit|finds the greatest common divisor|implements binary search|
implements a stack|implements a queue|implements a linked list|flattens a nested list|counts the vowels in a string|
validates an email address|downloads a web page|computes the area of a circle|transposes a matrix|multiplies two matrices|
finds the intersection of two lists|generates a random password|converts a number to binary|groups words by their first letter|
computes the power of a number|finds all anagrams of a word|rotates a list by k places|implements bubble sort|
implements quicksort|checks balanced brackets|computes a running sum|formats a date|counts how often each item occurs|
splits a list into chunks|finds the missing number in a range|implements a simple calculator|prints a multiplication table""".replace("\n", "").split("|")
NAMES = "count|total|items|values|result|data|name|index|width|user|price|score|message|buffer|node|left|size|key".split("|")


def chat(r):
    t, u = r.choice(TOPICS), r.choice(TOPICS)
    return r.choice([
        f"What is {t}?", f"Explain {t} to {r.choice(AUDIENCES)}.", f"Tell me about {t}.", f"Why is {t} important?",
        f"Write a {r.choice(ADJECTIVES)} paragraph about {t}.", f"Give me {r.randint(3, 8)} tips about {t}.",
        f"List {r.randint(3, 10)} interesting facts about {t}.", f"Compare {t} and {u}.",
        f"What are the main advantages and disadvantages of {t}?", f"Write a {r.choice(ADJECTIVES)} story about {r.choice(PEOPLE)} and {t}.",
        f"How did {t} change over time?", f"Write an email to {r.choice(PEOPLE)} about {t}.",
        f"I want to learn about {t}. Where should I start?", f"Summarize what is known about {t} in {r.randint(2, 6)} sentences.",
        f"Write a poem about {t}.", f"What would happen without {t}?", f"Describe {t} as if you were in {r.choice(PLACES)}.",
        f"Plan a day trip to {r.choice(PLACES)} for someone who likes {t}.", f"Write a dialogue between {r.choice(PEOPLE)} and {r.choice(PEOPLE)} about {t}.",
        f"What is the difference between {t} and {u}?", f"Give me a step by step guide to {t}.", f"Write {r.randint(3, 6)} quiz questions about {t} with answers.",
        f"What are common mistakes people make about {t}?", f"Write a {r.choice(ADJECTIVES)} speech about {t}.",
    ])


def code(r):
    task, language, name = r.choice(TASKS), r.choice(LANGUAGES[:6] + ["Python"] * 6), r.choice(NAMES)
    return r.choice([
        f"Write a {language} function that {task}.", f"Write a {language} program that {task} and explain it.",
        f"How do I write a function in {language} that {task}?", f"Write a {language} function named {name} that {task}. Include comments.",
        f"Write a {language} class with a method that {task}.", f"Write unit tests for a {language} function that {task}.",
        f"Show me two ways to write a {language} function that {task}.", f"Explain how an algorithm that {task} works.",
        f"Write a {language} script that {task}, with error handling.", f"Give me an example in {language}: code that {task}.",
        f"What does this code do?\n\n{snippet(r)}", f"Add comments to this code:\n\n{snippet(r)}",
        f"Find the bug in this code and fix it:\n\n{snippet(r)}", f"Translate this Python code to {language}:\n\n{snippet(r)}",
    ])


def snippet(r):
    a, b, c = r.sample(NAMES, 3)
    n = r.randint(2, 20)
    return r.choice([
        f"def {a}({b}):\n    {c} = 0\n    for i in range(len({b})):\n        {c} += {b}[i]\n    return {c}\n",
        f"def {a}({b}, {c}):\n    if {b} > {c}:\n        return {b}\n    return {c}\n",
        f"{a} = [{', '.join(str(r.randint(1, 99)) for _ in range(r.randint(3, 7)))}]\n{b} = [x * {n} for x in {a} if x % 2 == 0]\nprint({b})\n",
        f"class {a.title()}:\n    def __init__(self, {b}):\n        self.{b} = {b}\n\n    def {c}(self):\n        return self.{b} * {n}\n",
        f"def {a}(n):\n    if n <= 1:\n        return n\n    return {a}(n - 1) + {a}(n - 2)\n\nfor {b} in range({n}):\n    print({a}({b}))\n",
        f"{a} = {{}}\nfor {b} in {c}.split():\n    {a}[{b}] = {a}.get({b}, 0) + 1\nprint({a})\n",
        f"with open('{a}.txt') as f:\n    for {b} in f:\n        {c} = {b}.strip()\n        if {c}:\n            print({c})\n",
        f"int {a}(int {b}, int {c}) {{\n    int sum = 0;\n    for (int i = {b}; i < {c}; i++) {{\n        sum += i;\n    }}\n    return sum;\n}}\n",
        f"function {a}({b}) {{\n  return {b}.map(x => x + {n}).filter(x => x > {r.randint(1, 50)});\n}}\n",
    ])


def maths(r):
    p, q, t = r.choice(PEOPLE), r.choice(PEOPLE), r.choice(THINGS)
    a, b, c = r.randint(2, 60), r.randint(2, 40), r.randint(2, 12)
    return r.choice([
        f"{p} has {a} {t}. {q} gives {p} {b} more. How many {t} does {p} have now?",
        f"{p} buys {c} boxes of {t} with {b} in each box. How many {t} is that in total?",
        f"A train travels {a} miles per hour for {c} hours. How far does it go?",
        f"What is {a} + {b}?", f"What is {a} * {b}? Show your work.", f"Solve for x: {c}x + {b} = {c * a + b}.",
        f"What is {r.choice([5, 10, 15, 20, 25, 30, 40, 50])}% of {a * 10}?", f"Simplify the fraction {a * c}/{b * c}.",
        f"The sides of a rectangle are {a} and {b}. What are its area and perimeter?", f"Find the average of {a}, {b} and {c}.",
        f"{p} and {q} share {a * 2} {t} equally. How many does each of them get?", f"What is the square root of {c * c}?",
        f"If {c} {t} cost ${b}, how much do {c * 3} {t} cost? Explain step by step.", f"Is {a} a prime number? Explain.",
        f"A shop sells {t} at ${c} each. {p} pays with ${c * b + a} and buys {b}. How much change does {p} get?",
        f"Write the first {c} multiples of {b}.", f"Convert {a} kilometers to meters.", f"What is the sum of the numbers from 1 to {a}?",
    ])


def rewriting(r, source):
    """`source`: a text, most often one that the model wrote earlier."""
    return r.choice([
        "Rewrite the following text in a {} style:\n\n{}", "Correct the spelling and grammar of this text:\n\n{1}",
        "Repeat the following text exactly:\n\n{1}", "Summarize this text:\n\n{1}", "Make this text shorter:\n\n{1}",
        "Turn the following text into bullet points:\n\n{1}", "Rewrite this text for {2}:\n\n{1}",
        "Replace every name in this text by {3}, and leave all else as it is:\n\n{1}", "Rename the variables in this code:\n\n{1}",
        "Copy this text and add a title:\n\n{1}", "Give the same text with all sentences numbered:\n\n{1}",
    ]).replace("{}", "{0}", 1).replace("{}", "{1}").format(r.choice(ADJECTIVES), source.strip(), r.choice(AUDIENCES), r.choice(PEOPLE))


FOLLOW_UPS = ["Can you explain that in more detail?", "Thanks! Can you give me an example?", "Please make it shorter.",
              "Now write it as a list.", "What else should I know?", "Can you rewrite that in simpler words?", "Why?",
              "Is that always true?", "Please continue.", "Now do the same in another style.", "Please add comments.",
              "Write it again, but change one detail.", "Summarize what you said in one sentence."]

FAMILIES = {"chat": chat, "code": code, "maths": maths}


def passage(r):
    """A text to rewrite where none has been generated."""
    if r.random() < 0.4:
        return snippet(r)
    p, q, t, u = r.choice(PEOPLE), r.choice(PEOPLE), r.choice(TOPICS), r.choice(THINGS)
    lines = [f"{p} went to {r.choice(PLACES)} to learn about {t}.", f"{q} brought {r.randint(2, 30)} {u}.",
             f"They talked about {r.choice(TOPICS)} until the evening.", f"The {r.choice(ADJECTIVES)} answer surprised {p}.",
             f"Nobody in {r.choice(PLACES)} had seen so many {u} before.", f"{q} wrote a {r.choice(ADJECTIVES)} letter about {t}.",
             f"In the end {p} sold {r.randint(2, 20)} {u} and went home.", f"It was the best day of the year for {q}."]
    r.shuffle(lines)
    return " ".join(lines[:r.randint(2, 7)])
