"""Draw phantoms that look like frontal chest radiographs, with the boxes of their opacities.

A phantom is a sum of soft attenuation fields (body, lungs, heart, ribs, vessels, findings) that is passed through
a film curve. Soft tissue is evaluated on a coarse grid and enlarged, lines are drawn finer, grain is added last:
that is what makes 25 images a second a core possible. Nothing here derives from a real radiograph; box sizes and
places, the number of boxes and the share of opacities by view follow the published label table of the challenge.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.sample.findings import SIZE_PX, SOFT, Anatomy, Located, draw_heart, draw_other_findings, texture
from hilum.sample.placing import Field, Placing, field, step

_FINE = 512
NORMAL = "Normal"
NOT_NORMAL = "No Lung Opacity / Not Normal"
OPACITY = "Lung Opacity"


@dataclass(frozen=True)
class Phantom:
    """A drawn radiograph: `pixels` 1024 x 1024 uint8, white bones; `boxes_xywh` integers inside the image.

    `others` are the findings that are no opacity, as far as they have a place: name and box xywh.
    """

    pixels: NDArray[np.uint8]
    boxes_xywh: NDArray[np.int64]
    others: tuple[Located, ...] = ()


def draw_phantom(anatomy: Anatomy, view: str, kind: str, rng: np.random.Generator) -> Phantom:
    """Draw one image of a person.

    Args:
        anatomy: the person.
        view: "PA" or "AP"; AP pictures are of sicker people: blurrier, larger hearts, wires.
        kind: NORMAL, NOT_NORMAL or OPACITY, the challenge's three classes.
        rng: source of everything else.
    """
    portable = view == "AP"
    placing = Placing.draw(rng, portable=portable)
    u, v = placing.grid(SOFT)
    lungs, air = _lungs(u, v, anatomy, portable=portable)
    soft = _body(u, v, anatomy, rng)
    heart = draw_heart(u, v, anatomy, enlarge=1.12 if portable else 1.0)
    soft += 0.16 * heart - (0.50 + rng.uniform(-0.06, 0.06)) * air * (1 - heart)
    boxes = np.zeros((0, 4), np.int64)
    others: list[Located] = []
    lines = np.zeros((_FINE, _FINE), np.float32)
    _draw_bones(lines, placing, anatomy, rng)
    _draw_vessels(lines, placing, anatomy, rng)
    if kind == OPACITY:
        haze, boxes = _opacities(lungs, placing, anatomy, rng)
        soft += haze * (1 - 0.8 * heart)
    if kind == NOT_NORMAL:
        soft += draw_other_findings(u, v, lungs, anatomy, rng, others)
    soft += texture(rng, SOFT, cells=24) * rng.uniform(0.02, 0.05)
    if kind != NORMAL and rng.random() < (0.6 if portable else 0.15):
        _draw_wires(lines, rng)
    image = cv2.resize(soft, (_FINE, _FINE), interpolation=cv2.INTER_CUBIC)
    image += cv2.GaussianBlur(lines, (0, 0), 1.6 if portable else 1.1)
    return Phantom(_film(image, view, rng), boxes, tuple(others))


def _lung_edges(anatomy: Anatomy, side: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Heights t (0 apex, 1 base) with the inner and the outer edge's distance from the spine."""
    t = np.array([-0.2, 0.0, 0.06, 0.2, 0.45, 0.7, 0.9, 1.1])
    outer = np.array([0.05, 0.20, 0.36, 0.58, 0.79, 0.93, 0.99, 1.02]) * anatomy.lung_width
    inner = np.array([0.14, 0.13, 0.11, 0.11, 0.13, 0.14, 0.14, 0.14])
    if side > 0:  # the heart lies on the person's left, which is the picture's right
        inner = inner + np.array([0, 0, 0, 0, 0.02, 0.09, 0.14, 0.14]) * anatomy.heart
    return t, inner, outer


def _lungs(u: Field, v: Field, anatomy: Anatomy, *, portable: bool) -> tuple[Field, Field]:
    """Return where the lungs are (0..1, crisp) and how much air the beam crosses (0..1, thinner at the rim)."""
    crisp = np.zeros(u.shape, np.float32)
    air = np.zeros(u.shape, np.float32)
    for side in (-1, 1):
        bottom = anatomy.lung_bottom - (0.05 if portable else 0.0) + (0.0 if side < 0 else 0.025)
        t = (v - np.float32(anatomy.lung_top)) / np.float32(bottom - anatomy.lung_top)
        heights, inner_at, outer_at = _lung_edges(anatomy, side)
        # Looking up in a fine table is ten times as fast as np.interp on every pixel.
        table = np.linspace(-0.2, 1.1, 1024)
        index = np.clip((t + 0.2) / 1.3 * 1023, 0, 1023).astype(np.int32)
        inner = np.interp(table, heights, inner_at).astype(np.float32)[index]
        outer = np.interp(table, heights, outer_at).astype(np.float32)[index]
        across = u * side
        middle = (inner + outer) / 2
        dome = np.float32(0.075) * (1 - ((across - middle) / np.float32(0.36)) ** 2)
        base = np.float32(bottom) - np.clip(dome, -0.05, 1) - v
        part = step(across - inner, 0.05) * step(outer - across, 0.05) * step(base, 0.03)
        part *= step(t + np.float32(0.02), 0.08)
        crisp += part
        depth = np.clip((across - inner) * (outer - across) / ((outer - inner) ** 2 / 4 + np.float32(1e-3)), 0, 1)
        air += part * (np.float32(0.45) + np.float32(0.55) * np.sqrt(depth))
    return crisp, air


def _body(u: Field, v: Field, anatomy: Anatomy, rng: np.random.Generator) -> Field:
    width = np.float32(anatomy.body_width)
    shoulders = step(v - np.float32(0.12) - np.float32(0.16) * np.clip((np.abs(u) - 0.3), 0, 1) / np.float32(0.7), 0.12)
    neck = step(np.float32(0.24) - np.abs(u), 0.20)
    trunk = step(width - np.abs(u) + np.float32(0.12) * step(np.float32(0.45) - v, 0.3), 0.12)
    body = np.maximum(shoulders * trunk, neck * np.float32(0.72))
    bulk = np.float32(0.60) + np.float32(0.34) * step(v - np.float32(anatomy.lung_bottom - 0.02), 0.35)
    # The beam crosses less of the body near its sides.
    bulk = bulk * (1 - np.float32(0.28) * np.clip(np.abs(u) / width, 0, 1) ** 3)
    spine = np.exp(-(((u - np.float32(anatomy.spine_bend) * np.sin(v * 6)) / np.float32(0.085)) ** 2))
    bumps = 1 + np.float32(0.12) * np.sin(v * np.float32(2 * np.pi / anatomy.rib_pitch))
    image = body * bulk + body * spine * bumps * np.float32(0.20)
    if anatomy.breast:
        for side in (-1, 1):
            distance = ((u * side - np.float32(0.5)) / np.float32(0.36)) ** 2 + (
                (v - np.float32(0.66)) / np.float32(0.16)
            ) ** 2
            image += np.float32(anatomy.breast) * step(1 - distance, 0.5) * body
    return field(image + np.float32(rng.uniform(0.0, 0.03)))


def _polyline(canvas: Field, placing: Placing, points_uv: NDArray[np.floating], width_px: int, value: float) -> None:
    """Add a line given in body coordinates; `width_px` on the fine grid."""
    points = np.round(placing.to_picture(points_uv) * _FINE * 8).astype(np.int32)
    left, top = np.clip(points.min(axis=0) // 8 - width_px, 0, _FINE)
    right, bottom = np.clip(points.max(axis=0) // 8 + width_px + 1, 0, _FINE)
    if right <= left or bottom <= top:
        return
    layer = np.zeros((bottom - top, right - left), np.uint8)
    cv2.polylines(layer, [points - np.array([left, top], np.int32) * 8], False, 255, width_px, cv2.LINE_AA, 3)
    canvas[top:bottom, left:right] += layer.astype(np.float32) * np.float32(value / 255)


def _draw_bones(canvas: Field, placing: Placing, anatomy: Anatomy, rng: np.random.Generator) -> None:
    strength = rng.uniform(0.05, 0.10)  # bone over lung; below the diaphragm it hardly shows
    reach = anatomy.lung_width * 1.05
    for side in (-1, 1):
        for rib in range(int((anatomy.lung_bottom - anatomy.lung_top) / anatomy.rib_pitch) + 1):
            top = anatomy.lung_top - 0.02 + rib * anatomy.rib_pitch
            wide = reach * min(1.0, 0.45 + 0.16 * rib)
            s = np.linspace(0, 1, 14)
            behind = np.stack([side * (0.06 + (wide - 0.06) * np.sin(s * 1.5)), top - 0.03 * s + 0.13 * s**2.2], axis=1)
            _polyline(canvas, placing, behind, 9, strength)
            front = np.stack([side * (wide - (wide - 0.22) * s), top + 0.10 + 0.13 * s**0.8], axis=1)
            _polyline(canvas, placing, front, 8, strength * 0.45)
        s = np.linspace(0, 1, 10)
        collar = np.stack([side * (0.07 + 0.62 * s), 0.16 - 0.05 * s - 0.03 * np.sin(s * 5)], axis=1)
        _polyline(canvas, placing, collar, 13, strength * 1.3)


def _draw_vessels(canvas: Field, placing: Placing, anatomy: Anatomy, rng: np.random.Generator) -> None:
    hilum_v = (anatomy.lung_top + anatomy.lung_bottom) / 2 - 0.03
    for side in (-1, 1):
        for angle in rng.uniform(-1.3, 1.4, size=9):
            length = rng.uniform(0.12, 0.30)
            steps = np.linspace(0, 1, 6)[:, None]
            heading = np.array([[side * np.cos(angle) * 1.6, np.sin(angle)]])
            path = np.array([[side * 0.15, hilum_v]]) + steps * heading * length
            path[1:] += rng.normal(0, 0.008, (5, 2)).cumsum(axis=0)
            value = rng.uniform(0.04, 0.10)
            _polyline(canvas, placing, path[:4], 4, value)
            _polyline(canvas, placing, path[3:], 2, value * 0.8)


def _opacities(
    lungs: Field, placing: Placing, anatomy: Anatomy, rng: np.random.Generator
) -> tuple[Field, NDArray[np.int64]]:
    """Soft, cloudy consolidations inside the lungs, and the boxes a reader would put around them."""
    count = int(rng.choice([1, 2, 3, 4], p=[0.435, 0.5434, 0.0198, 0.0018]))
    sides = [-1, 1] if rng.random() < 0.5 else [1, -1]
    axis = (np.arange(SOFT, dtype=np.float32) + 0.5) / SOFT
    x, y = axis[None, :], axis[:, None]
    haze = np.zeros((SOFT, SOFT), np.float32)
    boxes: list[list[int]] = []
    taken = np.zeros((SOFT, SOFT), bool)
    for number in range(count):
        side = sides[number % 2]
        small = number >= 2
        width = float(np.clip(rng.normal(0.245, 0.065), 0.08, 0.40)) * (0.6 if small else 1.0)
        height = float(np.clip(rng.normal(0.37, 0.16) * (width / 0.245) ** 0.9, 0.08, 0.75)) * (0.6 if small else 1.0)
        span = anatomy.lung_bottom - anatomy.lung_top
        # Pneumonia favours the lower zones.
        middle_v = anatomy.lung_top + span * float(np.clip(rng.normal(0.56, 0.17), 0.22, 0.82))
        middle_u = side * (0.12 + anatomy.lung_width * float(np.clip(rng.normal(0.42, 0.12), 0.2, 0.65)))
        (cx, cy), *_ = placing.to_picture(np.array([[middle_u, middle_v]]))
        angle = np.arctan2((y - np.float32(cy)) / np.float32(height), (x - np.float32(cx)) / np.float32(width))
        wobble = 1 + sum(
            (rng.uniform(0.04, 0.24) / k * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5)),
            start=np.zeros_like(angle),
        )
        radius = (
            2 * np.hypot((x - np.float32(cx)) / np.float32(width), (y - np.float32(cy)) / np.float32(height)) / wobble
        )
        shape = step((1 - radius).astype(np.float32), rng.uniform(0.25, 0.6)) * lungs
        seen = (shape > 0.5) & ~taken
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        if len(rows) < 9 or len(columns) < 9:  # under 36 px: smaller than any labelled box
            continue
        taken |= cv2.dilate((shape > 0.05).astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
        cloud = 1 + 0.5 * texture(rng, SOFT, cells=int(rng.integers(12, 40)))
        haze = np.maximum(haze, shape * cloud * np.float32(rng.uniform(0.16, 0.36)))
        edges = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) * (SIZE_PX / SOFT)
        edges += rng.normal(0, 5, 4)  # readers do not agree to the pixel
        left, top, right, bottom = np.clip(np.round(edges), 0, SIZE_PX).astype(int).tolist()
        boxes.append([left, top, right - left, bottom - top])
    if not boxes:  # the drawn place lay outside the lung: try another
        return _opacities(lungs, placing, anatomy, rng)
    return haze, np.array(boxes, np.int64)


def _draw_wires(canvas: Field, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(1, 4))):
        start, end = rng.uniform(0.1, 0.9, 2), rng.uniform(0.2, 0.8, 2)
        bend = (start + end) / 2 + rng.normal(0, 0.12, 2)
        s = np.linspace(0, 1, 24)[:, None]
        path = (1 - s) ** 2 * start + 2 * s * (1 - s) * bend + s**2 * end
        layer = np.zeros((_FINE, _FINE), np.uint8)
        cv2.polylines(layer, [np.round(path * _FINE).astype(np.int32)], False, 255, 2, cv2.LINE_AA)
        canvas += layer.astype(np.float32) * np.float32(rng.uniform(0.1, 0.3) / 255)


@cache
def _grain() -> NDArray[np.int8]:
    """Film grain, shared by all pictures at random offsets: drawing a million normals anew would take 15 ms."""
    noise = np.random.default_rng(20180827).standard_normal((SIZE_PX + 256, SIZE_PX + 256), dtype=np.float32)
    noise = 0.75 * noise + 1.1 * cv2.GaussianBlur(noise, (0, 0), 1.0)
    return np.asarray(np.clip(np.round(noise * 32), -127, 127), np.int8)


def _film(image: Field, view: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Attenuation to 8-bit grey at full size: exposure, film curve, grain, collimation and the side marker."""
    low, high = rng.uniform(-0.02, 0.10), rng.uniform(0.95, 1.30)
    value = np.clip((image - np.float32(low)) / np.float32(high - low), 0, 1)
    value = value ** np.float32(rng.uniform(0.75, 1.25))
    grey = cv2.resize(value * np.float32(255), (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_LINEAR)
    top, left = rng.integers(0, 256, 2)
    strength = rng.uniform(1.5, 4.0) * (1.5 if view == "AP" else 1.0)
    grain = _grain()[top : top + SIZE_PX, left : left + SIZE_PX]
    pixels = np.asarray(cv2.addWeighted(grey, 1.0, grain.astype(np.float32), strength / 32, 0), np.float32)
    picture = cv2.convertScaleAbs(np.maximum(pixels, 0))
    if rng.random() < 0.3:
        for side, depth in enumerate(rng.integers(0, 46, 4)):
            rim = [picture[:depth], picture[SIZE_PX - depth :], picture[:, :depth], picture[:, SIZE_PX - depth :]][side]
            rim //= 12
    white = int(rng.integers(200, 256))
    place = (int(rng.integers(860, 930)), int(rng.integers(60, 160)))
    cv2.putText(picture, "L", place, cv2.FONT_HERSHEY_SIMPLEX, 1.8, white, 4, cv2.LINE_AA)
    if view == "AP" and rng.random() < 0.6:
        cv2.putText(
            picture, "PORTABLE", (place[0] - 150, place[1] + 45), cv2.FONT_HERSHEY_SIMPLEX, 1.0, white, 2, cv2.LINE_AA
        )
    return np.asarray(picture, np.uint8)
