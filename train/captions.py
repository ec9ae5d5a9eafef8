"""Facts -> natural English, and the sentencepiece tokenizer trained on it.

Role     caption(spec, rng) words the facts of a clip in one of very many ways: at least eight wordings for each fact,
         free order, finite verbs or participles, keyword lists, facts left out at random.
         plain(spec) is the one fixed wording that the evaluator uses for its prompts besides random ones.
Usage    python train/captions.py     trains the tokenizer -> $LONGTAKE_WORK/spiece.model and prints examples
Pitfalls ids pad 0, </s> 1, <s> 2, <unk> 3 as in UMT5; a dummy prefix; byte fallback so that any prompt has pieces.
"""
import io

import numpy as np

from common import work

COLOUR = {
    "red": "red|red|red|crimson|scarlet|ruby|bright red|deep red|cherry-red|ruby-red|vermilion|fiery red",
    "orange": "orange|orange|orange|tangerine|bright orange|carrot-coloured|vivid orange|mandarin|pumpkin-orange|amber-orange",
    "yellow": "yellow|yellow|yellow|golden|lemon-yellow|canary-yellow|bright yellow|sunny yellow|gold|lemon",
    "green": "green|green|green|emerald|bright green|jade|grass-green|leaf-green|emerald green|vivid green",
    "cyan": "cyan|cyan|cyan|turquoise|aqua|bright cyan|aquamarine|teal|blue-green|turquoise blue",
    "blue": "blue|blue|blue|royal blue|cobalt|sapphire|deep blue|navy blue|ultramarine|cobalt blue|dark blue",
    "purple": "purple|purple|purple|violet|deep purple|plum|amethyst|indigo|plum-coloured|dark violet",
    "pink": "pink|pink|pink|rose|hot pink|bubblegum pink|bright pink|rosy|rose-coloured|light pink",
    "white": "white|white|white|snow-white|ivory|pure white|bright white|milky white|chalk-white|pearly white",
    "black": "black|black|black|jet-black|coal-black|ebony|pitch-black|inky black|onyx|deep black"}
SHAPE = {
    "ball": "ball|ball|ball|sphere|orb|round ball|globe|beach ball|rubber ball|bouncy ball",
    "cube": "cube|cube|cube|box|block|square box|crate|solid cube|die|wooden block",
    "star": "star|star|star|five-pointed star|star shape|toy star|little star shape|pointed star|shiny star",
    "ring": "ring|ring|ring|torus|donut|hoop|doughnut|swim ring|tyre|round ring",
    "cone": "cone|cone|cone|pointed cone|traffic cone|cone shape|pointy cone|party hat|pylon",
    "heart": "heart|heart|heart|love heart|heart shape|valentine heart|shiny heart|toy heart|heart-shaped balloon"}
PLACE = {
    "meadow": "in a green meadow|on a grassy field|in a field of grass|over rolling green hills|on a flowery meadow|in the countryside|in a pasture with trees|on a lawn|in a park|in a green valley|on the grass|in the meadow|in the fields|in a meadow",
    "sea": "by the sea|over the sea|above the waves|on the water|at sea|over a calm ocean|on the ocean|at the seaside with sailing boats|over blue water|in the ocean|on the open sea|above the sea|with boats on the sea behind it",
    "city": "in a city|in the city|on a city street|in front of a skyline|downtown|in a town|on a road between buildings|before tall buildings|on an urban street|in the middle of a big city|in front of skyscrapers|in a street with houses|on the road in town",
    "desert": "in a desert|in the desert|on sand dunes|over the sand|in a sandy desert|among cacti|in a dry land of sand and cactus|over dunes|in the dunes|in a sandy wasteland|on desert sand|in the Sahara|on hot sand",
    "snow": "in a snowy landscape|on a field of snow|in the snow|in a winter forest|among snowy fir trees|below snowy mountains|in a winter landscape|on white snow|in a snowy valley|in the Arctic|in a wintry forest|on a snow field|in snowy mountains"}
TIME = {
    "dawn": "at dawn|at sunrise|in the early morning|at daybreak|in soft morning light|as the sun rises|at first light|on a pink morning|in the morning|at the break of day",
    "noon": "at noon|at midday|in bright daylight|in the middle of the day|under a blue sky|on a sunny day|by day|in full sunshine|during the day|on a bright day|in the daytime",
    "sunset": "at sunset|at dusk|in the evening|under an orange sky|in golden evening light|as the sun goes down|at the end of the day|in the glow of the setting sun|under a red sky|at sundown",
    "night": "at night|under the stars|by moonlight|in the dark|at midnight|under a starry sky|in the moonlight|late at night|beneath the moon|on a starry night"}
WEATHER = {
    "clear": "in clear weather|with no rain|in dry weather|in fine weather|in good weather|in calm weather|without any rain or snow falling|in nice weather",
    "rain": "in the rain|while it rains|in a rain shower|with rain falling|on a rainy day|in wet weather|under falling rain|during a drizzle|in light rain|in rainy weather",
    "snowfall": "while it snows|with snow falling|in falling snow|during a snowfall|as snowflakes drift down|with snowflakes in the air|in a snow shower|under gentle snowfall|with falling snowflakes|while snow is falling"}
MOTION = {                                                        # participle / finite
    "bouncing": "bouncing/bounces|bouncing up and down/bounces up and down|hopping/hops|jumping/jumps|leaping up and down/leaps up and down|hopping up and down/hops up and down|bouncing on the ground/bounces on the ground|jumping up and down/jumps up and down",
    "rolling": "rolling/rolls|rolling along/rolls along|tumbling along/tumbles along|rolling over the ground/rolls over the ground|rolling on the ground/rolls on the ground|tumbling/tumbles|turning over and over/turns over and over|rolling along the ground/rolls along the ground",
    "orbiting": "circling/circles|orbiting/orbits|moving in circles/moves in circles|going round and round/goes round and round|flying in circles/flies in circles|going around in a circle/goes around in a circle|looping around/loops around|circling around/circles around",
    "drifting": "drifting/drifts|drifting through the air/drifts through the air|floating slowly along/floats slowly along|gliding/glides|gliding through the air/glides through the air|wandering through the air/wanders through the air|sailing through the air/sails through the air|drifting along/drifts along",
    "swinging": "swinging/swings|swinging on a rope/swings on a rope|swinging back and forth/swings back and forth|dangling from a rope/dangles from a rope|swaying like a pendulum/sways like a pendulum|hanging from a string and swinging/hangs from a string and swings|swinging like a pendulum/swings like a pendulum|swinging from side to side/swings from side to side",
    "spinning": "spinning/spins|rotating/rotates|twirling/twirls|spinning around/spins around|whirling/whirls|revolving/revolves|turning around itself/turns around itself|spinning in the air/spins in the air|rotating slowly/rotates slowly",
    "hovering": "hovering/hovers|levitating/levitates|hovering in the air/hovers in the air|staying in mid-air/stays in mid-air|hanging in the air/hangs in the air|floating in place/floats in place|floating in mid-air/floats in mid-air|bobbing gently in the air/bobs gently in the air"}
CAMERA = {
    "still": "the camera is still|static camera|the camera does not move|fixed camera|a still shot|steady shot|locked-off camera|the view stays put",
    "left": "the camera pans left|panning left|the camera moves to the left|camera moving left|pan to the left|the view slides to the left|tracking shot to the left|the camera travels left",
    "right": "the camera pans right|panning right|the camera moves to the right|camera moving right|pan to the right|the view slides to the right|tracking shot to the right|the camera travels right"}
SIZE = {"small": "small|little|tiny|small|compact|short|mini|smallish", "large": "large|big|huge|giant|large|enormous|massive|oversized",
        "medium": "medium-sized|mid-sized|medium|average-sized|normal-sized|ordinary|regular|middle-sized"}
SECOND = "with a {} beside it|next to a {}|and a {}|with a {} in the sky|accompanied by a {}|while a {} floats nearby|together with a {}|and also a {}"
TABLES = dict(colour=COLOUR, shape=SHAPE, place=PLACE, time=TIME, weather=WEATHER, motion=MOTION, camera=CAMERA, size=SIZE)
for _t in TABLES.values():
    for _k in _t:
        _t[_k] = _t[_k].split("|")
SECOND = SECOND.split("|")


def a(s):
    return ("an " if s[0] in "aeiou" else "a ") + s


def caption(spec, rng, drop=1.):
    """One random wording.  drop scales the chance that a fact is left out (0: every fact is said)."""
    pick = lambda t: t[int(rng.integers(len(t)))]
    keep = lambda p: rng.random() > (1 - p) * drop
    word = lambda f: pick(TABLES[f][spec[f]])
    noun = []
    if keep(.5 if spec["size"] != "medium" else .15):
        noun.append(word("size"))
    if keep(.95):
        noun.append(word("colour"))
    noun.append(word("shape") if keep(.95) else pick(["object", "thing", "shape", "toy"]))
    noun = " ".join(noun)
    said_motion = keep(.88)
    ing, fin = word("motion").split("/")
    place = word("place") if keep(.92) else None
    time = word("time") if keep(.88) else None
    weather = word("weather") if keep(.85 if spec["weather"] != "clear" else .12) else None
    camera = word("camera") if keep(.65 if spec["camera"] != "still" else .25) else None
    second = None
    if spec.get("second") and keep(.9):
        two = spec["second"]
        second = pick(SECOND).format("small " * (rng.random() < .4) + pick(COLOUR[two["colour"]]) + " " + pick(SHAPE[two["shape"]]))
    style = rng.random()
    if style < .15:                                               # keywords
        bits = [x for x in (noun, ing if said_motion else None, place and place.split(" ", 1)[-1], time and time.split(" ", 1)[-1], weather, camera, second) if x]
        if rng.random() < .5:
            rest = bits[1:]
            rng.shuffle(rest)
            bits = bits[:1] + rest
        s = ", ".join(bits)
    else:
        tail = [x for x in (place, time, weather) if x]
        rng.shuffle(tail)
        front = tail.pop() if tail and rng.random() < .25 else None
        subj = pick([a(noun), a(noun), a(noun), "the " + noun, "one " + noun])
        if style < .6:
            s = subj + (" " + fin if said_motion else pick([" is seen", " is there", "", " can be seen"]))
        else:
            s = subj + (pick([" ", " ", " is "]) + ing if said_motion else "")
            if front is None and rng.random() < .25:
                s = pick(["a video of ", "a clip of ", "video of ", "a shot of ", "footage of ", "an animation of ", "a scene with ", "we see "]) + s
        if second and rng.random() < .5:
            s, second = s + " " + second, None
        s += "".join((", " if i and rng.random() < .3 else " ") + x for i, x in enumerate(tail))
        if second:
            s += ", " + second
        if front:
            s = front + ", " + s
        if camera:
            s += pick([", ", ". ", ", ", " - "]) + camera
    if rng.random() < .6:
        s = s[0].upper() + s[1:]
    if rng.random() < .5:
        s += "."
    return s


def plain(spec):
    """One fixed wording with every main fact."""
    w = {"clear": "", "rain": " in the rain", "snowfall": " while it snows"}[spec["weather"]]
    c = {"still": "", "left": ", the camera pans left", "right": ", the camera pans right"}[spec["camera"]]
    return f"{a(spec['colour'])} {spec['shape']} {spec['motion']} {PLACE[spec['place']][0]} {TIME[spec['time']][0]}{w}{c}"


class Tokenizer:
    def __init__(self, path=None, length=64):
        import sentencepiece as spm
        self.sp, self.n = spm.SentencePieceProcessor(model_file=path or work("spiece.model")), length

    def __call__(self, texts):
        """List of prompts -> int64 [B, longest], padded with 0; </s> is the last id of each."""
        import torch
        rows = [self.sp.encode(t)[:self.n - 1] + [1] for t in texts]
        m = max(map(len, rows))
        return torch.tensor([r + [0] * (m - len(r)) for r in rows])


def train_tokenizer(path, vocab=1600, n=60000):
    import sentencepiece as spm

    import world
    rng = np.random.default_rng(4)
    lines = [caption(world.sample_spec(rng), rng) for _ in range(n)]
    buf = io.BytesIO()
    spm.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=buf, vocab_size=vocab, model_type="unigram", byte_fallback=True,
                                   pad_id=0, eos_id=1, bos_id=2, unk_id=3, add_dummy_prefix=True, character_coverage=1.0, hard_vocab_limit=False,
                                   num_threads=2, minloglevel=2, normalization_rule_name="nmt_nfkc")
    open(path, "wb").write(buf.getvalue())


if __name__ == "__main__":
    import world
    train_tokenizer(work("spiece.model"))
    rng = np.random.default_rng(0)
    tok = Tokenizer()
    print("vocabulary", tok.sp.vocab_size())
    for _ in range(24):
        s = caption(world.sample_spec(rng), rng)
        print(len(tok.sp.encode(s)) + 1, s)
    for s in ("a purple elephant, café 日本", "A red ball bouncing in a desert at night"):
        print(tok.sp.encode(s, out_type=str))
