"""The world of the model in the box: endless little clips, drawn in closed form in time.

Role     render(spec, frames) gives any frames of the clip `spec` as uint8 [T,96,160,3]; frame n is the picture at
         n/16 s.  No state is carried from one picture to the next, so minute ten costs what second one costs.
Maths    back to front: sky gradient, sun or moon or stars, clouds, far layer (parallax 0.2), middle layer (0.5),
         ground whose rows scroll with perspective (0.55 to 1.25), soft contact shadow, object from a signed distance
         in pixels (coverage = clamp(1/2 - d)), weather.  Layers are periodic tiles, so a pan never ends.
Facts    place x time of day, weather, colour x shape (x size), a second object at times, motion, camera.
         Combinations colour x shape x place with a certain hash are held out of training (held_out).
Usage    python train/world.py --sheet out.png     a contact sheet
Pitfalls time is float64 and reduced modulo each period before float32; tiles are cached per (place, time of day).
"""
import argparse
import functools
import math
import zlib

import numpy as np

W, H, FPS = 160, 96, 16
TILE = 640                                   # width of the periodic layers, pixels
HORIZON, CONTACT = 56, 82                    # rows: where the ground begins, where objects stand
PLACES = ["meadow", "sea", "city", "desert", "snow"]
TIMES = ["dawn", "noon", "sunset", "night"]
WEATHERS = ["clear", "rain", "snowfall"]
SHAPES = ["ball", "cube", "star", "ring", "cone", "heart"]
COLOURS = {"red": (.90, .09, .11), "orange": (1., .48, .04), "yellow": (1., .88, .10), "green": (.10, .70, .18),
           "cyan": (.08, .85, .88), "blue": (.12, .24, .92), "purple": (.50, .13, .78), "pink": (1., .42, .72),
           "white": (.97, .97, .97), "black": (.07, .07, .08)}
COLOUR_NAMES = list(COLOURS)
MOTIONS = ["bouncing", "rolling", "orbiting", "drifting", "swinging", "spinning", "hovering"]
CAMERAS = ["still", "left", "right"]
SIZES = {"small": 16.5, "medium": 20.0, "large": 24.0}          # radius, pixels

SKY = {"dawn": [(.42, .47, .78), (.90, .68, .74), (1., .88, .72)], "noon": [(.16, .46, .92), (.45, .72, .98), (.80, .93, 1.)],
       "sunset": [(.27, .15, .42), (.88, .33, .28), (1., .74, .28)], "night": [(.02, .04, .14), (.05, .09, .24), (.13, .19, .40)]}
LIGHT = {"dawn": (.93, .80, .82), "noon": (1., 1., 1.), "sunset": (.92, .60, .46), "night": (.36, .44, .70)}
OBJLIGHT = {"dawn": (1., .94, .93), "noon": (1., 1., 1.), "sunset": (1., .90, .82), "night": (.78, .80, .90)}
GROUND = {"meadow": (.36, .70, .22), "sea": (.10, .45, .66), "city": (.50, .50, .55), "desert": (.93, .74, .42), "snow": (.92, .95, 1.)}
_Y, _X = np.mgrid[0:H, 0:W].astype(np.float32)


def held_out(colour, shape, place):
    """Is this combination kept out of training?  About one in twelve, fixed for ever."""
    return zlib.crc32(f"{colour}-{shape}-{place}".encode()) % 12 == 0


def sample_spec(rng, want_held_out=False):
    """Draw the facts and the free parameters of one clip."""
    while True:
        c, s, p = rng.choice(COLOUR_NAMES), rng.choice(SHAPES), rng.choice(PLACES)
        if held_out(c, s, p) == want_held_out:
            break
    spec = dict(colour=str(c), shape=str(s), place=str(p), time=str(rng.choice(TIMES)),
                weather=str(rng.choice(WEATHERS, p=[.7, .15, .15])), motion=str(rng.choice(MOTIONS)),
                camera=str(rng.choice(CAMERAS, p=[.5, .25, .25])), size=str(rng.choice(list(SIZES))), second=None)
    if rng.random() < .15:
        c2 = str(rng.choice([k for k in COLOUR_NAMES if k != spec["colour"]]))
        spec["second"] = dict(colour=c2, shape=str(rng.choice(SHAPES)), side=int(rng.choice([-1, 1])))
    spec.update(scroll=float(rng.uniform(0, TILE)), phase=float(rng.random()), period=float(rng.uniform(.9, 1.15)),
                x0=float(rng.uniform(-14, 14)), cloud=float(rng.uniform(0, TILE)), turn=int(rng.choice([-1, 1])))
    return spec


# ---------------------------------------------------------------- layers (once per place and time of day)
def _waves(x, seed, terms, lo, hi):
    """Periodic sum of sines in [lo, hi]."""
    r = np.random.default_rng(seed)
    y = np.zeros_like(x)
    for k in terms:
        y += np.sin(2 * np.pi * (k * x / TILE + r.random())) / (k ** .7)
    y = (y - y.min()) / (y.max() - y.min())
    return lo + (hi - lo) * y


def _noise(seed, h, w, cell_y, cell_x):
    """Smooth periodic value noise [h,w] in 0..1 (bilinear with smoothstep)."""
    r = np.random.default_rng(seed).random((max(2, int(h / cell_y)), max(2, int(w / cell_x))))
    ny, nx = r.shape
    fy, fx = np.arange(h) * ny / h, np.arange(w) * nx / w
    iy, ix = fy.astype(int), fx.astype(int)
    ty, tx = fy - iy, fx - ix
    ty, tx = ty * ty * (3 - 2 * ty), tx * tx * (3 - 2 * tx)
    a = r[iy][:, ix] * (1 - tx) + r[iy][:, (ix + 1) % nx] * tx
    b = r[(iy + 1) % ny][:, ix] * (1 - tx) + r[(iy + 1) % ny][:, (ix + 1) % nx] * tx
    return a * (1 - ty[:, None]) + b * ty[:, None]


@functools.lru_cache(maxsize=None)
def layers(place, time):
    """-> sky [H,W,3], clouds, far, middle [H,TILE,4] premultiplied, ground [H-HORIZON,TILE,3], all float32."""
    S = 3                                                         # supersampling in x
    light, sky3 = np.array(LIGHT[time]), np.array(SKY[time])
    if place == "snow":                                           # snow takes the blue of the sky, not the gold of the sun
        light = {"dawn": np.array((.93, .86, .92)), "sunset": np.array((.80, .68, .84))}.get(time, light)
    v = np.clip(np.arange(H) / HORIZON, 0, 1)[:, None]
    sky = np.where(v < .55, sky3[0] + (sky3[1] - sky3[0]) * v / .55, sky3[1] + (sky3[2] - sky3[1]) * (v - .55) / .45)
    sky = np.repeat(sky[:, None], W, 1)
    haze = sky3[2]
    y, x = np.mgrid[0:H, 0:TILE * S].astype(np.float64)
    x = (x + .5) / S
    xs = x[0]
    down = lambda a: a.reshape(H, TILE, S, -1).mean(2)

    def solid(cover, rgb):                                        # premultiplied layer from coverage and colour
        cover = np.clip(cover, 0, 1)
        return np.concatenate([cover[..., None] * np.broadcast_to(rgb, cover.shape + (3,)), cover[..., None]], -1)

    def over(b, a):
        return a + b * (1 - a[..., 3:])

    n = _noise(7, H, TILE * S, 7, 28 * S) * .6 + _noise(8, H, TILE * S, 3.5, 11 * S) * .4
    band = np.exp(-((y - 20) / 13) ** 2)
    cc = {"dawn": (1., .84, .82), "noon": (1., 1., 1.), "sunset": (1., .62, .46), "night": (.22, .27, .46)}[time]
    clouds = down(solid(np.clip((n - .52) * 4.5, 0, 1) * band * .85, np.array(cc)))

    mixed = lambda rgb, k: (np.array(rgb) * light) * (1 - k) + haze * k
    far = np.zeros((H, TILE * S, 4))
    mid = np.zeros((H, TILE * S, 4))
    if place == "meadow":
        far = solid(y - _waves(xs, 1, [2, 3, 5, 8], 32, 50)[None], mixed((.36, .56, .50), .45))
        mid = solid(y - _waves(xs, 2, [3, 4, 7, 11], 44, 57)[None], mixed((.26, .56, .24), .12))
        for i in range(16):                                       # round trees
            cx, r0 = (i + .37 * math.sin(i * 5.1)) * TILE / 16 + 20, 5.5 + 2 * math.sin(i * 2.3)
            dx = (x - cx + TILE / 2) % TILE - TILE / 2
            mid = over(mid, solid(np.minimum(1.3 - abs(dx), 1) * ((y > 46) & (y < 58)), mixed((.32, .22, .14), .1)))
            d = r0 - np.hypot(dx, y - 45)
            mid = over(mid, solid(d, mixed((.16, .44, .16), .08) * (1.1 - .022 * (y[..., None] - 40) - .01 * dx[..., None])))
    elif place == "sea":
        far = solid((y - _waves(xs, 3, [1, 2, 3], 44, 62)[None]), mixed((.40, .46, .60), .55))
        for i in range(4):                                        # sailing boats
            cx = (i + .3 * math.sin(i * 3.3)) * TILE / 4 + 60
            dx = (x - cx + TILE / 2) % TILE - TILE / 2
            mid = over(mid, solid(np.minimum(9 - abs(dx) + (56 - y) * .4, np.minimum(y - 52, 57 - y)), mixed((.55, .22, .16), .05)))
            mid = over(mid, solid(np.minimum(np.minimum((y - 34) * .45 - dx, dx + 1), 51 - y), mixed((.98, .97, .92), .05)))
    elif place == "city":
        for lay, (seed, lo, hi, wd, k) in enumerate([(4, 14, 36, 20, .50), (5, 26, 46, 32, .16)]):
            r = np.random.default_rng(seed)
            nb = TILE // wd
            hs = r.uniform(lo, hi, nb)
            b = (xs // wd).astype(int) % nb
            inb = xs % wd
            cover = (y > hs[b][None]) * ((inb > 1.5) | (lay == 0))[None]
            tone = r.uniform(.85, 1.1, nb)[b][None, :, None]
            rgb = mixed((.44, .44, .54) if lay == 0 else (.34, .33, .42), k) * tone
            win = ((inb % 6.4 > 2.2) & (inb % 6.4 < 4.9) & (inb < wd - 2))[None] & ((y - hs[b][None]) % 7 > 2.5) & (y > hs[b][None] + 3)
            lit = r.random((H, nb))[(y // 7).astype(int), b[None]] < (.62 if time == "night" else .35)
            wrgb = {"night": (1., .86, .45), "sunset": (1., .75, .40), "dawn": (.95, .80, .66), "noon": (.72, .84, .94)}[time]
            rgb = np.where((win & lit)[..., None], np.array(wrgb) * (1 - .4 * (lay == 0)) + haze * .3 * (lay == 0), np.broadcast_to(rgb, y.shape + (3,)))
            if lay == 0:
                far = solid(cover.astype(float), rgb)
            else:
                mid = solid(cover.astype(float), rgb)
    elif place == "desert":
        far = solid((y - 54 + 22 * np.clip(1.2 - np.abs(((xs % 213) - 106) / 44), 0, 1) ** .8 * (1 - .5 * (np.arange(xs.size) > xs.size // 2)))[:, :], mixed((.66, .42, .36), .42))
        ridge = _waves(xs, 6, [3, 5, 7], 45, 58)
        mid = solid(y - ridge[None], mixed((.90, .66, .36), .10) * (1 - .12 * np.clip((y - ridge[None]) / 10, 0, 1))[..., None])
        for i in range(8):                                        # cacti
            cx = (i + .35 * math.sin(i * 4.7)) * TILE / 8 + 30
            dx = (x - cx + TILE / 2) % TILE - TILE / 2
            c = np.maximum(np.minimum(2.2 - abs(dx), y - 37), np.minimum(np.minimum(7.5 - abs(dx), 1.6 - abs(y - 48)), 9))
            c = np.maximum(c, np.minimum(np.minimum(1.6 - abs(dx - 6), 49 - y), y - 42))
            c = np.maximum(c, np.minimum(np.minimum(1.6 - abs(dx + 6), 49 - y), y - 44))
            mid = over(mid, solid(np.minimum(c, 60 - y), mixed((.22, .46, .26), .06)))
    else:
        peaks = np.minimum(abs((xs % 128) - 64) * .45 + 22, abs(((xs + 70) % 160) - 80) * .5 + 30)
        far = solid(y - peaks[None], np.where((y - peaks[None] < 9)[..., None], mixed((.95, .97, 1.), .25), mixed((.50, .58, .72), .35)))
        mid = solid(y - _waves(xs, 9, [2, 5, 7], 50, 57)[None], mixed((.86, .91, .98), .08))
        for i in range(22):                                       # firs with snow on them
            cx, top = (i + .4 * math.sin(i * 3.9)) * TILE / 22, 33 + 4 * math.sin(i * 2.7)
            dx = (x - cx + TILE / 2) % TILE - TILE / 2
            tier = (y - top) % 8
            c = np.minimum(np.minimum((y - top) * .22 + tier * .38 - abs(dx), y - top), 58 - y)
            mid = over(mid, solid(c, np.where((tier < 2.6)[..., None], mixed((.92, .96, 1.), .05), mixed((.10, .34, .26), .08))))
    far, mid, gh = down(far), down(mid), H - HORIZON
    g = np.broadcast_to(np.array(GROUND[place]), (gh, TILE, 3)).copy()
    gy, gx = np.mgrid[0:gh, 0:TILE].astype(np.float64)
    fine, big = _noise(21, gh, TILE, 1.6, 4), _noise(22, gh, TILE, 8, 34)
    if place == "meadow":
        g *= (.88 + .10 * fine + .22 * (big - .5))[..., None]
        g *= (1 + .10 * np.sign(np.sin(2 * np.pi * gx / 64)))[..., None]
        r = np.random.default_rng(33)
        for i in range(34):
            fx, fy = r.uniform(0, TILE), r.uniform(4, gh - 2)
            d = np.hypot((gx - fx + TILE / 2) % TILE - TILE / 2, (gy - fy) * 1.5)
            a = np.clip(2.7 - d, 0, 1)[..., None] * .8
            g = g * (1 - a) + a * np.array([(1., .95, .6), (1., .75, .85), (.98, .98, 1.)][i % 3])
    elif place == "sea":
        g *= (.80 + .30 * np.clip(np.sin(gy * 1.05 + 3 * _noise(23, gh, TILE, 9, 20)), 0, 1) * (.4 + .6 * big) + .2 * (big - .5))[..., None]
    elif place == "city":
        g *= (.90 + .08 * fine)[..., None]
        g[0:7] = g[0:7] * 1.18
        g[7:9] *= .7
        dash = ((gy > 19) & (gy < 22) & (gx % 64 < 34))[..., None]
        g = np.where(dash, np.array((.97, .94, .80)), g)
        g[:7] *= np.where(gx[:7] % 16 < 1.5, .82, 1.)[..., None]
    elif place == "desert":
        g *= (.90 + .10 * np.sin(gy * .9 + 2.5 * np.sin(2 * np.pi * gx / 160) + 4 * big) + .07 * (fine - .5))[..., None]
    else:
        g *= (.93 + .07 * fine - .16 * np.clip(big - .55, 0, 1) * 2)[..., None]
        g += np.where((fine > .93)[..., None], .07, 0)
    depth = (gy / gh)[..., None]
    g = g * light * (.86 + .2 * depth)
    g = g * (1 - .35 * (1 - depth) ** 3) + haze * .35 * (1 - depth) ** 3
    sx, sy = {"dawn": (34, 40), "noon": (122, 14), "sunset": (112, 44), "night": (124, 16)}[time]
    d = np.hypot(_X - sx, _Y - sy)[..., None]
    glow = {"dawn": (1., .80, .60), "noon": (1., .98, .85), "sunset": (1., .62, .25), "night": (.55, .62, .85)}[time]
    sky = sky + np.exp(-d / {"dawn": 26, "noon": 15, "sunset": 30, "night": 12}[time]) * (np.array(glow) - sky) * .75
    a = np.clip({"dawn": 7, "noon": 7.5, "sunset": 10, "night": 7}[time] - d, 0, 1)
    disc = {"dawn": (1., .93, .78), "noon": (1., .99, .86), "sunset": (1., .86, .42), "night": (.95, .95, .88)}[time]
    if time == "night":
        a = a * np.clip(np.hypot(_X - sx - 3.5, _Y - sy + 2)[..., None] - 5.2, 0, 1)
    sky = sky * (1 - a) + a * np.array(disc)
    f = lambda q: np.ascontiguousarray(np.clip(q, 0, 1.15), np.float32)
    return f(sky), f(clouds), f(far), f(mid), f(g)


@functools.lru_cache(maxsize=None)
def _stars():
    r = np.random.default_rng(5)
    m = np.zeros((H, W), np.float32)
    ph = np.zeros((H, W), np.float32)
    for _ in range(46):
        cx, cy, b, p = r.uniform(0, W), r.uniform(0, 46), r.uniform(.4, 1), r.random()
        d = np.clip(1.25 - np.hypot(_X - cx, _Y - cy), 0, 1) * b
        ph = np.where(d > 0, p, ph)
        m = np.maximum(m, d)
    return m, ph


@functools.lru_cache(maxsize=None)
def _particles(kind):
    """A periodic tile [H,W] of rain streaks or snow flakes."""
    r = np.random.default_rng(11 if kind == "rain" else 12)
    m = np.zeros((H, W), np.float32)
    for _ in range(26 if kind == "rain" else 30):
        cx, cy, k = r.uniform(0, W), r.uniform(0, H), r.uniform(.6, 1)
        dx, dy = (_X - cx + W / 2) % W - W / 2, (_Y - cy + H / 2) % H - H / 2
        d = np.maximum(abs(dx + .18 * dy) - .35, abs(dy) - 5 * k) if kind == "rain" else np.hypot(dx, dy) - 1.4 * k
        m = np.maximum(m, np.clip(.6 - d, 0, 1) * (.42 if kind == "rain" else .85) * k)
    return m


# ---------------------------------------------------------------- objects
def _star_sdf(x, y):
    k1x, k1y = .809016994375, -.587785252292
    x = abs(x)
    d = 2 * np.maximum(k1x * x + k1y * y, 0)
    x, y = x - d * k1x, y - d * k1y
    d = 2 * np.maximum(-k1x * x + k1y * y, 0)
    x, y = x + d * k1x, y - d * k1y
    x, y = abs(x), y - 1.0
    bx, by = .44 * .587785252292, .44 * .809016994375 - 1.0
    h = np.clip((x * bx + y * by) / (bx * bx + by * by), 0, 1)
    return np.hypot(x - bx * h, y - by * h) * np.sign(y * bx - x * by)


def _heart_sdf(x, y):
    x = abs(x)
    a = np.hypot(x - .25, y - .75) - math.sqrt(2) / 4
    m = .5 * np.maximum(x + y, 0)
    b = np.sqrt(np.minimum(x * x + (y - 1) ** 2, (x - m) ** 2 + (y - m) ** 2)) * np.sign(x - y)
    return np.where(y + x > 1, a, b)


def _draw(img, shape, rgb, cx, cy, r, roll, spin, squash, light):
    """Composite one object of radius r px; roll: turn in the picture plane, spin: turn about the vertical axis."""
    m = int(r * 1.35) + 3
    x0, x1, y0, y1 = max(0, int(cx) - m), min(W, int(cx) + m + 1), max(0, int(cy) - m), min(H, int(cy) + m + 1)
    if x1 <= x0 or y1 <= y0:
        return
    u = (_X[y0:y1, x0:x1] - cx) / (r * (2 - squash))
    v = (cy - _Y[y0:y1, x0:x1]) / (r * squash)                    # v upwards
    su, sv = u, v
    if roll:
        c, s = math.cos(roll), math.sin(roll)
        u, v = c * u + s * v, c * v - s * u
    rgb = np.array(rgb, np.float32)
    if shape in ("star", "heart", "ring") and spin:
        q = math.cos(spin)
        u = u / (math.copysign(max(abs(q), .22), q))
    if shape == "ball":
        q = u * u + v * v
        d = np.sqrt(q) - 1
        nz = np.sqrt(np.clip(1 - q, 0, 1))
        lon = np.arctan2(u, nz + 1e-3) + spin
        stripe = np.clip(np.cos(3 * lon) * 4 * np.sqrt(np.clip(1 - v * v, 0, 1)), -1, 1)
        shade = .93 + .10 * stripe
        nx, ny = su, sv
    elif shape == "ring":
        q = np.hypot(u, v)
        d = abs(q - .70) - .29
        t = np.clip((q - .70) / .29, -1, 1)
        nx, ny, nz = t * u / (q + 1e-6), t * v / (q + 1e-6), np.sqrt(np.clip(1 - t * t, 0, 1))
        shade = .92 + .08 * np.cos(4 * np.arctan2(v, u))
    elif shape == "star":
        d = _star_sdf(u / 1.15, v / 1.15 + .03) * 1.15
        ang = np.mod(np.arctan2(u, v) / (2 * np.pi / 10), 2)
        shade = np.where(ang < 1, 1.0, .80) + .15 * np.clip(-d, 0, .5)
        nx, ny, nz = u * .4, v * .4, .9
    elif shape == "heart":
        d = _heart_sdf(u * .62, v * .62 + .55) / .62
        e = np.clip(-d / .5, 0, 1)
        k = (1 - e) * .9
        q = np.hypot(u, v) + 1e-6
        nx, ny, nz, shade = k * u / q, k * v / q, np.sqrt(1 - k * k), 1.
    elif shape == "cone":
        t = np.clip((v + .80) / 1.8, 0, 1)
        w = .88 * (1 - t) + .02
        side = np.maximum((abs(u) - w) * .88, -.80 - v)
        base = (np.hypot(u / .90, (v + .80) / .22) - 1) * .22
        d = np.minimum(np.maximum(side, v - 1), base)
        nx = np.clip(u / w, -1, 1)
        ny, nz = .3, np.sqrt(np.clip(1 - nx * nx, 0, 1))
        shade = .94 + .08 * np.clip(4 * np.cos(3 * (np.arcsin(nx) + spin)), -1, 1)
    else:                                                         # cube: top rhombus and two side faces
        th = spin + .55
        c, s = math.cos(th), math.sin(th)
        e, h, a = .30, .52, .66
        face = lambda yc: np.maximum(abs(c * u + s * (v - yc) / e), abs(c * (v - yc) / e - s * u)) - a
        hw = a * (abs(c) + abs(s))
        top = face(h)
        body = np.maximum(abs(u) - hw, abs(v) - h)
        d = np.minimum(np.minimum(top * .6, face(-h) * .6), body)
        k = int(math.floor(th / (math.pi / 2)))
        f = th - k * math.pi / 2                                   # 0..pi/2: where the front edge stands
        xe = a * (math.cos(f) - math.sin(f)) * -1
        shade = np.where(top < 0, 1.12, np.where(u < xe, .70 + .25 * math.sin(f), .70 + .25 * math.cos(f)))
        nx, ny, nz = 0., .4, .8
    lam = np.clip(-.45 * nx + .55 * ny + .70 * nz, 0, 1)
    spec = np.clip(lam - .80, 0, 1) ** 2 * 9 * (shape not in ("cube", "star"))
    lit = (.42 + .66 * lam) * shade
    pix = rgb * lit[..., None] * np.array(light, np.float32) + .55 * np.clip(spec, 0, 1)[..., None]
    al = np.clip(.5 - d * r * .92, 0, 1)[..., None].astype(np.float32)
    img[y0:y1, x0:x1] += al * (np.clip(pix, 0, 1) - img[y0:y1, x0:x1])


def _shadow(img, cx, r, height, dark):
    k = 1 / (1 + height / 40)
    q = ((_X[70:] - cx) / (r * (.75 + .45 * (1 - k)))) ** 2 + ((_Y[70:] - CONTACT - .5) / (r * .22)) ** 2
    img[70:] *= (1 - dark * k * np.exp(-1.1 * q * q))[..., None]


def _pose(spec, t, r):
    """Centre, height above ground, roll, spin, squash and scale of the object at time t (closed form)."""
    m, p, P, tau = spec["motion"], spec["phase"], spec["period"], 2 * math.pi
    cx, roll, spin, squash, sc = 80 + spec["x0"], 0., 0., 1., 1.
    rest = CONTACT - r * (.82 if spec["shape"] in ("cube", "cone") else .95)
    cy = rest
    turn = {"left": -1, "right": 1}.get(spec["camera"], spec["turn"])
    if m == "bouncing":
        u = math.fmod(t / (1.05 * P) + p, 1.)
        cy = rest - 4 * 34 * u * (1 - u) * (19 / r) ** .5
        squash = 1 - .16 * math.exp(-(min(u, 1 - u) / .07) ** 2)
        cy += r * (1 - squash)
    elif m == "rolling":
        if spec["camera"] == "still":
            s = 46 * math.sin(tau * math.fmod(t / (5.2 * P) + p, 1.))
            cx, roll = 80 + s, s / r
        else:
            cx, roll = 80 + spec["x0"] + 8 * math.sin(tau * math.fmod(t / (4 * P) + p, 1.)), turn * math.fmod(PAN * t / r, tau)
    elif m == "orbiting":
        a = tau * math.fmod(t / (3.4 * P) + p, 1.) * spec["turn"]
        cx, cy, sc = 80 + 44 * math.cos(a), 52 + 13 * math.sin(a), 1 + .18 * math.sin(a)
    elif m == "drifting":
        cx = 80 + 44 * math.sin(tau * math.fmod(t / (9 * P) + p, 1.))
        cy = 44 + 12 * math.sin(tau * math.fmod(t / (6 * P) + p, 1.))
    elif m == "swinging":
        a = .62 * math.sin(tau * math.fmod(t / (2.4 * P) + p, 1.))
        cx, cy, roll = 80 + spec["x0"] + 62 * math.sin(a), -10 + 62 * math.cos(a), -a
    elif m == "spinning":
        cy, spin = 56, tau * math.fmod(t / (2.2 * P) + p, 1.) * spec["turn"]
    else:
        cy = 48 + 6 * math.sin(tau * math.fmod(t / (2.8 * P) + p, 1.))
    return cx, cy, roll, spin, squash, sc


PAN = 26.0                                                        # pixels a second at the ground


def _shift(tile, s):
    """Columns s .. s+W of a periodic tile, linear between pixels."""
    s = s % TILE
    i = int(s)
    f = np.float32(s - i)
    idx = np.arange(i, i + W + 1) % TILE if i + W + 1 > TILE else slice(i, i + W + 1)
    a = tile[:, idx]
    return a[:, :-1] * (1 - f) + a[:, 1:] * f


_ROWS = np.arange(H - HORIZON)
_PERSP = (np.arange(W) - 79.5)[None] / (.55 + .70 * _ROWS / (H - HORIZON - 1))[:, None]   # true perspective: speed .55 to 1.25


def _over(img, layer):
    img *= 1 - layer[..., 3:]
    img += layer[..., :3]


def render_frame(spec, n):
    """Picture number n (any integer >= 0) of the clip, float32 [H,W,3] in 0..1."""
    t = n / FPS
    sky, clouds, far, mid, ground = layers(spec["place"], spec["time"])
    pan = {"left": -1, "right": 1}.get(spec["camera"], 0) * PAN * t
    img = sky.copy()
    if spec["time"] == "night":
        m, ph = _stars()
        img[:, :, :] += (m * (.65 + .35 * np.sin(2 * np.pi * (ph + math.fmod(t * .5, 1.)))).astype(np.float32))[..., None] * .8
    _over(img[:50], _shift(clouds[:50], spec["cloud"] + 2.0 * t + .1 * pan))
    _over(img[10:64], _shift(far[10:64], spec["scroll"] + .2 * pan))
    _over(img[24:64], _shift(mid[24:64], spec["scroll"] * 1.7 + .5 * pan))
    s = _PERSP + (spec["scroll"] + pan) % TILE
    if spec["place"] == "sea":
        s = s + (3.5 * np.sin(2 * np.pi * (math.fmod(t / 3, 1.) + _ROWS / 17)))[:, None]
    i = np.floor(s)
    f = (s - i).astype(np.float32)[..., None]
    i = i.astype(np.int64) % TILE
    r_ = _ROWS[:, None]
    g = ground[r_, i] * (1 - f) + ground[r_, (i + 1) % TILE] * f
    if spec["place"] == "sea":
        gl = np.sin(_X[HORIZON:] * .21 + 2 * np.pi * math.fmod(t / 2, 1.) + .9 * _Y[HORIZON:]) * np.sin(_Y[HORIZON:] * 1.3 - 2 * np.pi * math.fmod(t / 4, 1.))
        g = g * (1 + .16 * np.clip(gl - .3, 0, 1))[..., None]
    img[HORIZON:] = g
    light, dark = OBJLIGHT[spec["time"]], .62 if spec["time"] != "night" else .5
    r = SIZES[spec["size"]]
    two = spec["second"]
    if two:
        r2, x2 = 12.5, 80 + two["side"] * 52
        y2 = 30 + 4 * math.sin(2 * math.pi * math.fmod(t / 3.1 + spec["phase"], 1.))
        _shadow(img, x2, r2 * .8, 40, dark * .8)
        _draw(img, two["shape"], COLOURS[two["colour"]], x2, y2, r2, 0., 0., 1., light)
    cx, cy, roll, spin, squash, sc = _pose(spec, t, r)
    _shadow(img, cx, r, max(0., CONTACT - cy - r), dark)
    if spec["motion"] == "swinging":
        ax, ay = 80 + spec["x0"], -10.
        dx, dy = cx - ax, cy - ay
        k = np.clip(((_X - ax) * dx + (_Y - ay) * dy) / (dx * dx + dy * dy), 0, 1)
        al = np.clip(1.1 - np.hypot(_X - ax - k * dx, _Y - ay - k * dy), 0, 1)[..., None]
        img += al * (np.array((.35, .26, .18), np.float32) * np.array(light, np.float32) - img)
    _draw(img, spec["shape"], COLOURS[spec["colour"]], cx, cy, r * sc, roll, spin, squash, light)
    if spec["weather"] != "clear":
        rain = spec["weather"] == "rain"
        m = _particles("rain" if rain else "snow")
        dy = t * (96. if rain else 16.) + 40 * spec["phase"]
        dx = 16 * t * .8 if rain else 5 * math.sin(2 * math.pi * math.fmod(t / 3, 1.))
        sx, sy = dx % W, (-dy) % H
        ix, iy, fx, fy = int(sx), int(sy), np.float32(sx % 1), np.float32(sy % 1)
        p = np.roll(m, (-iy, -ix), (0, 1))
        p = p * (1 - fy) + np.roll(p, -1, 0) * fy
        p = (p * (1 - fx) + np.roll(p, -1, 1) * fx)[..., None]
        col = np.array((.80, .86, .95) if rain else (1., 1., 1.), np.float32)
        img = img * (.93 if rain else 1.)
        img += p * (col - img)
    return img


def render(spec, frames):
    """Frames (iterable of picture numbers) -> uint8 [T,H,W,3]."""
    return np.stack([(np.clip(render_frame(spec, n), 0, 1) * 255 + .5).astype(np.uint8) for n in frames])


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("--sheet", default="sheet.png")
    ap.add_argument("--rows", type=int, default=10)
    ap.add_argument("--seed", type=int, default=0)
    args = ap.parse_args()
    from PIL import Image
    rng = np.random.default_rng(args.seed)
    rows = []
    for i in range(args.rows):
        sp = sample_spec(rng)
        if i < 20:
            sp["place"], sp["time"] = PLACES[i % 5], TIMES[(i // 5 + i) % 4]
        rows.append(np.concatenate(list(render(sp, [0, 5, 10, 15, 200, 9000])), 1))
        print({k: v for k, v in sp.items() if isinstance(v, str)})
    Image.fromarray(np.concatenate(rows, 0)).save(args.sheet)
