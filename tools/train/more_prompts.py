"""More prompts, for training only: what people ask an assistant, in wordings and on subjects that prompts.py lacks. prompts.py
itself stays as it is, because the held-out prompts are made with it."""
import prompts
from prompts import ADJECTIVES, AUDIENCES, LANGUAGES, NAMES, PEOPLE, PLACES, THINGS, snippet

SUBJECTS = """chess|soccer|basketball|tennis|swimming|running|cycling|hiking|camping|fishing|skiing|surfing|dancing|ballet|the guitar|
the piano|drums|rock music|classical music|hip hop|photography|drawing|sculpture|architecture|movies|theatre|novels|science fiction|
fairy tales|mythology|philosophy|stoicism|ethics|logic|psychology|anxiety|stress|motivation|habits|happiness|loneliness|marriage|
parenting|babies|toddlers|teenagers|school|homework|exams|university|scholarships|job interviews|resumes|salaries|promotions|
remote work|meetings|leadership|conflict at work|startups|small businesses|marketing|advertising|social media|email newsletters|
customer service|sales|accounting|taxes|mortgages|credit cards|savings|retirement|insurance|cryptocurrency|blockchain|real estate|
supply chains|international trade|globalization|unemployment|minimum wage|the gold standard|central banks|recessions|
the United Nations|the European Union|the Constitution|elections|human rights|freedom of speech|immigration|the Cold War|
World War I|World War II|the American Civil War|the Renaissance|the Middle Ages|the Ottoman Empire|the Mongol Empire|ancient Greece|
the Vikings|the Aztecs|the Incas|Napoleon|Cleopatra|Abraham Lincoln|Albert Einstein|Marie Curie|Isaac Newton|Charles Darwin|
Leonardo da Vinci|Mozart|Beethoven|Van Gogh|Nelson Mandela|Gandhi|DNA|genes|evolution|cells|bacteria|viruses|fungi|plants|trees|
flowers|insects|butterflies|spiders|ants|birds|owls|eagles|cats|dogs|horses|cows|elephants|lions|tigers|bears|sharks|dolphins|
octopuses|turtles|snakes|frogs|the brain|the eye|the lungs|the liver|blood|bones|muscles|digestion|hormones|allergies|headaches|
diabetes|high blood pressure|the common cold|the flu|cancer|exercise|protein|vitamins|sugar|salt|water|breakfast|vegetarian food|pasta|
pizza|rice|soup|salad|bread|chocolate|ice cream|wine|beer|spices of India|Chinese food|Mexican food|Japanese food|chemistry|
the periodic table|acids and bases|oxygen|carbon|gold|iron|plastics|oil|natural gas|nuclear power|solar panels|wind turbines|
hydropower|hydrogen|magnets|electricity|sound|light|lasers|mirrors|lenses|telescopes|microscopes|the speed of light|relativity|
quantum mechanics|entropy|energy|friction|waves|Mars|Jupiter|Saturn|Pluto|asteroids|the Sun|eclipses|galaxies|the Big Bang|
satellites|astronauts|airplanes|helicopters|trains|ships|submarines|cars|buses|traffic|roads|tunnels|dams|skyscrapers|cities|
villages|farms|soil|deserts|oceans|rivers|lakes|islands|forests|caves|weather|clouds|rain|snow|hurricanes|tornadoes|floods|droughts|
wildfires|pollution|plastic waste|endangered species|national parks|zoos|museums|hotels|airports|passports|packing for a trip|
budget travel|London|Rome|Egypt|India|China|Japan|Brazil|Australia|Canada|Mexico|South Africa|Norway|computers|keyboards|smartphones|
operating systems|Linux|databases|SQL|spreadsheets|web browsers|websites|HTTP|APIs|cloud computing|computer viruses|passwords|
encryption|programming|debugging|version control|unit testing|recursion|data structures|sorting algorithms|neural networks|
large language models|chatbots|self-driving cars|virtual reality|video games|board games|puzzles|magic tricks|jokes|riddles|holidays|
Christmas|birthdays|weddings|gifts|clothes|shoes|hair|skin care|cleaning|laundry|moving house|furniture|plumbing|painting a room|
houseplants|vegetable gardens|compost|woodworking|sewing|pottery|calligraphy|writing essays|grammar|spelling|vocabulary|Spanish|French|
German|Latin|English|translation|speeches|debates|interviews|newspapers|radio|television|podcasts|algebra|geometry|calculus|
probability|statistics|prime numbers|fractions|percentages|graphs|pi|infinity|zero""".replace("\n", "").split("|")
GOALS = """lose weight|save money|learn to cook|sleep better|learn Spanish|run five kilometers|write a book|start a blog|find a job|
make friends|stop smoking|wake up early|study for an exam|get better at math|learn to code|plan a birthday party|clean my room|
train my dog|grow tomatoes|bake a cake|build a table|fix a flat tire|improve my memory|speak in public|organize my desk|
reduce stress|eat healthier|learn the guitar|save energy at home|write a good essay|prepare for an interview|travel cheaply|
choose a laptop|buy a used car|raise chickens|make coffee|tie a tie|iron a shirt|paint a wall|start a business""".replace("\n", "").split("|")
FORMS = """poem|haiku|limerick|song|short story|paragraph|letter|email|tweet|blog post|product description|speech|dialogue|riddle|joke|
slogan|headline|diary entry|recipe|review|press release|cover letter|thank-you note|invitation|apology|essay introduction|
motivational quote|bedtime story|movie plot|news report""".replace("\n", "").split("|")
MORE_TASKS = """returns the last element of a list|squares every number in a list|removes all spaces from a string|
capitalizes each word of a sentence|checks whether a year is a leap year|computes the sum of the digits of a number|
returns the n-th prime number|prints the numbers from 1 to 100|solves FizzBuzz|swaps two variables|finds the second largest number|
counts the lines of a file|writes a list to a file|reads JSON from a file|merges two dictionaries|inverts a dictionary|
sorts a dictionary by value|zips two lists|filters the even numbers|computes the median of a list|computes the standard deviation|
computes compound interest|converts miles to kilometers|converts a decimal number to hexadecimal|parses a date string|
computes the number of days between two dates|returns the current time|implements a timer|implements a countdown|
implements a to-do list|implements a bank account|implements a shopping cart|implements tic-tac-toe|implements a guessing game|
implements hangman|rolls two dice|shuffles a deck of cards|implements a binary tree|traverses a tree in order|
implements depth-first search|implements breadth-first search|implements Dijkstra's algorithm|implements merge sort|
implements insertion sort|implements a hash table|implements a priority queue|implements an LRU cache|implements memoization|
computes the edit distance of two strings|finds the longest common prefix|finds the longest word in a sentence|
counts the characters of a string|replaces a word in a text|extracts all numbers from a string|extracts email addresses from a text|
matches a phone number with a regular expression|checks whether two strings are equal ignoring case|compresses a string|
encrypts a text with a Caesar cipher|decodes Morse code|generates a random number|generates all permutations of a list|
generates all subsets of a set|solves a quadratic equation|computes the distance between two points|checks whether a point is in a circle|
computes the determinant of a matrix|prints a triangle of stars|prints Pascal's triangle|draws a square|plots a sine curve|
sends an HTTP request|starts a small web server|handles a form|queries a database|inserts a row into a table|creates a table of users|
selects all users older than 30|joins two tables|lists the files in a folder|renames all files in a folder|copies a file|
deletes duplicate lines|watches a file for changes|reads an environment variable|parses command-line arguments|logs messages to a file|
retries a function three times|measures how long a function takes|runs two functions in parallel|validates a password|
validates an IP address|formats a number with commas|rounds a number to two decimals|clamps a value between two limits|
centers a div|makes a button change colour|shows an alert|fetches data from an API|renders a list of items""".replace("\n", "").split("|")
ERRORS = """IndexError: list index out of range|KeyError: 'name'|TypeError: unsupported operand type(s) for +: 'int' and 'str'|
NameError: name 'x' is not defined|SyntaxError: invalid syntax|IndentationError: expected an indented block|
ZeroDivisionError: division by zero|AttributeError: 'NoneType' object has no attribute 'append'|ModuleNotFoundError: No module named 'numpy'|
Segmentation fault (core dumped)|undefined reference to 'main'|NullPointerException|Uncaught ReferenceError: foo is not defined|
Permission denied|command not found|Connection refused|404 Not Found|error: expected ';' before '}' token""".replace("\n", "").split("|")
SENTENCES = """I have went to the store yesterday.|She don't like apples.|The meeting is moved to monday at 3 pm.|He runned very fast.|
Please send me the report as soon as possible.|The cat sat on the mat.|I would like to order two pizzas and a salad.|
We are sorry for the delay of your order.|The product arrived broken and I want my money back.|Their going to there house.|
This movie was the best I have seen in years.|The food was cold and the waiter was rude.|It is raining and I forgot my umbrella.|
The train leaves at nine and arrives at noon.|I am writing to apply for the position of engineer.""".replace("\n", "").split("|")


def chat(r):
    s = r.choice(SUBJECTS if r.random() < 0.8 else prompts.TOPICS)
    u, g, p, q = r.choice(SUBJECTS), r.choice(GOALS), r.choice(PEOPLE), r.choice(PEOPLE)
    return r.choice([
        f"What is {s}?", f"What are {s}?", f"Tell me about {s}.", f"Explain {s}.", f"Explain {s} in simple terms.", f"Explain {s} to {r.choice(AUDIENCES)}.",
        f"Can you explain {s}?", f"How does {s} work?", f"Who invented {s}?", f"What is the history of {s}?", f"Why do people like {s}?",
        f"Why is {s} important?", f"What is the best way to learn about {s}?", f"Give me {r.randint(3, 10)} facts about {s}.",
        f"Tell me a fun fact about {s}.", f"What should I know about {s}?", f"Write a {r.choice(FORMS)} about {s}.",
        f"Write a {r.choice(ADJECTIVES)} {r.choice(FORMS)} about {s}.", f"Write a {r.choice(FORMS)} about {p}, who loves {s}.",
        f"Compare {s} and {u}.", f"What is the difference between {s} and {u}?", f"What do {s} and {u} have in common?",
        f"How can I {g}?", f"Give me tips to {g}.", f"I want to {g}. What should I do?", f"Make a plan to {g} in {r.randint(2, 12)} weeks.",
        f"What are the steps to {g}?", f"How long does it take to {g}?", f"List {r.randint(3, 10)} ways to {g}.",
        f"What do I need to {g}?", f"My friend {p} wants to {g}. What would you say to {q}?", f"Is it hard to {g}?",
        f"What are the pros and cons of {s}?", f"Summarize {s} in {r.randint(1, 5)} sentences.", f"Describe {s} in one paragraph.",
        f"What are some good books about {s}?", f"Ask me {r.randint(3, 6)} questions about {s}.", f"Define {s}.",
        f"Name {r.randint(3, 10)} kinds of {s}.", f"Give me ideas for a blog about {s}.", f"Suggest {r.randint(3, 8)} titles for an article about {s}.",
        f"Write an outline for an essay about {s}.", f"Write the first paragraph of a story that begins with {s}.",
        f"Write a letter from {p} to {q} about {s}.", f"Write an email to my boss about {s}.", f"Act as an expert on {s} and give me advice.",
        f"You are a teacher. Teach me about {s}.", f"What is the future of {s}?", f"What are the biggest problems with {s}?",
        f"What are the myths about {s}?", f"How did {s} begin?", f"Is {s} good for you?", f"How much does {s} cost?",
        f"Hello! Can you help me with {s}?", f"Hi, my name is {p}. I am interested in {s}.", f"I feel sad about {s}. What can I do?",
        f"What is the capital of {r.choice('France|Japan|Brazil|Egypt|Canada|India|Kenya|Norway|Spain|Italy|Peru|Turkey|Greece'.split('|'))}?",
        f"Plan a {r.randint(2, 7)}-day trip to {r.choice(PLACES)}.", f"Recommend a recipe with {u}.", f"Make a table of {s} and {u}.",
        f"Make a weekly schedule for someone who wants to {g}.", f"Write {r.randint(2, 5)} short paragraphs about {s}.",
        f"Answer in one sentence: what is {s}?", f"Answer yes or no and explain: is {s} useful?", f"Pros and cons: {s} or {u}?",
        f"Write a conversation between a teacher and a student about {s}.", f"Write a story about {p} and {q} in {r.choice(PLACES)}.",
        f"Finish this sentence: {s} is important because", f"Give an example of {s}.", f"Translate to {r.choice(['Spanish', 'French', 'German'])}: I like {s}.",
        "Hello", "Hi there!", "How are you?", "Who are you?", "What can you do?", "Tell me a joke.", "Tell me a story.", "Good morning!",
        "What is your name?", "Can you help me?", "What is the meaning of life?", f"Good morning, I am {p}.",
    ])


def code(r):
    task = r.choice(MORE_TASKS if r.random() < 0.7 else prompts.TASKS)
    language, name = r.choice(LANGUAGES + ["Python"] * 8 + ["JavaScript"] * 2 + ["TypeScript", "Ruby", "PHP", "C#"]), r.choice(NAMES)
    return r.choice([
        f"Write a {language} function that {task}.", f"Write a function in {language} that {task}.", f"Write {language} code that {task}.",
        f"Write a {language} program that {task}.", f"Write a {language} script that {task}.", f"Write a simple {language} program that {task}.",
        f"Implement a function that {task} in {language}.", f"Create a {language} function called {name} that {task}.",
        f"Write a {language} class that {task}.", f"Show me how to write {language} code that {task}.", f"How do I write code that {task} in {language}?",
        f"Give me a {language} example that {task}.", f"Write a {language} function that {task}, and an example of its use.",
        f"Write a short {language} function that {task}, with comments.", f"Write a {language} function that {task} and return the result.",
        f"Write a test for a {language} function that {task}.", f"Explain step by step how to write {language} code that {task}.",
        f"Write a recursive {language} function that {task}.", f"Write a one-liner in {language} that {task}.", f"Write pseudocode that {task}.",
        f"What does this code do?\n\n{snippet(r)}", f"Explain this code:\n\n{snippet(r)}", f"Explain this code line by line:\n\n{snippet(r)}",
        f"Improve this code:\n\n{snippet(r)}", f"Refactor this code:\n\n{snippet(r)}", f"Add type hints to this code:\n\n{snippet(r)}",
        f"Write a docstring for this function:\n\n{snippet(r)}", f"Write a test for this code:\n\n{snippet(r)}",
        f"Rewrite this code in {language}:\n\n{snippet(r)}", f"What is the output of this code?\n\n{snippet(r)}", f"Is there a bug here?\n\n{snippet(r)}",
        f"I get this error: {r.choice(ERRORS)}. What does it mean?", f"How do I fix this error in {language}?\n\n{r.choice(ERRORS)}",
        f"What is a {r.choice('loop|function|class|variable|list|dictionary|pointer|closure|lambda|decorator|generator|thread|promise|struct'.split('|'))} in {language}?",
        f"How do I install {language}?", f"What are the advantages of {language}?", f"Write a {language} hello world program.",
        f"Write an SQL query that selects the {name} of all {r.choice(THINGS)} with a {r.choice(NAMES)} above {r.randint(1, 100)}.",
        f"Write a regular expression that matches {r.choice('an email address|a phone number|a date|a URL|a number|a word|a hex colour'.split('|'))}.",
        f"Write an HTML page with {r.choice('a form|a table|a list|a button|an image|a menu|a heading'.split('|'))} for {r.choice(THINGS)}.",
        f"Write a bash command that {r.choice(['finds all text files', 'counts lines', 'deletes old logs', 'shows the disk usage', 'lists processes', 'searches for a word'])}.",
        f"Write a JSON object that describes {r.choice(PEOPLE)} with name, age and {r.choice(THINGS)}.",
    ])


def errand(r):
    """Small jobs on a sentence or two."""
    s, t = r.choice(SENTENCES), r.choice(SENTENCES)
    return r.choice([
        f"Correct the grammar: {s}", f"Fix the mistakes in this sentence: {s}", f"Rewrite this sentence: {s}", f"Make this more formal: {s}",
        f"Make this more polite: {s} {t}", f"Translate to {r.choice(['Spanish', 'French', 'German', 'Italian'])}: {s}",
        f"Is this sentence positive or negative? {s}", f"What is the subject of this sentence? {s}", f"Summarize: {s} {t}",
        f"Continue the story: {s}", f"Write a reply to this message: {s} {t}", f"Extract all times and dates: {s} {t}",
        f"Turn this into a question: {s}", f"Write this in the past tense: {s}", f"Say this in other words: {s}", f"Repeat after me: {s}",
        f"Put this into JSON with the fields who and what: {s}", f"Write three variations of this sentence: {s}",
        f"List the nouns in this text: {s} {t}", f"Expand this into a paragraph: {s}",
    ])


FAMILIES = {"chat": chat, "code": code, "errand": errand}
