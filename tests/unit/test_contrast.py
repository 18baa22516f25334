"""Every text is readable on its background, in light and in dark: a contrast of 4.5 at least."""

from __future__ import annotations

import re

import pytest

from local.settings import ROOT

LEAST = 4.5
STYLE = (ROOT / "clients/dashboard/style.css").read_text()
ELEMENTS = (ROOT / "clients/headcount-elements.js").read_text()
TEXTS = ("ink", "soft", "accent", "live", "wait", "warm", "bad")
PLAIN = ("card", "ground", "hover")
ON_OTHERS = (("accent", "tint"), ("ink", "tint"), ("bad", "bad-tint"), ("card", "accent"))

_BADGE = (
    r"background: [^;]*color-mix\(in srgb, var\(--_?(\w+)\) (\d+)%, var\(--_?(\w+)\)\)+; "
    r"color: var\(--_?(\w+)\)"
)

Color = tuple[float, float, float]


def color(text: str) -> Color:
    red, green, blue = (int(text[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue


def luminance(of: Color) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in of]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: Color, other: Color) -> float:
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def mixed(one: Color, share: float, other: Color) -> Color:
    red, green, blue = (a * share + b * (1 - share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def dashboard() -> dict[str, dict[str, Color]]:
    light, dark = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    )
    return {
        "light": {name: color(text) for name, text in light.items()},
        "dark": {name: color(text) for name, text in {**light, **dark}.items()},
    }


def elements() -> dict[str, dict[str, Color]]:
    found = re.findall(
        r"--_([a-z]+): var\([^,]+, light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", ELEMENTS
    )
    return {
        "light": {name: color(light) for name, light, _ in found},
        "dark": {name: color(dark) for name, _, dark in found},
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_dashboards_texts_are_readable(scheme: str) -> None:
    colors = dashboard()[scheme]
    pairs = [*((text, ground) for text in TEXTS for ground in PLAIN), *ON_OTHERS]
    poor = {pair: c for pair in pairs if (c := contrast(*(colors[one] for one in pair))) < LEAST}
    assert poor == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_elements_texts_are_readable(scheme: str) -> None:
    colors = elements()[scheme]
    pairs = [
        (text, ground) for text in ("ink", "soft", "live", "accent") for ground in ("card", "fill")
    ]
    poor = {pair: c for pair in pairs if (c := contrast(*(colors[one] for one in pair))) < LEAST}
    assert poor == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("source", ["dashboard", "elements"])
def test_badges_are_readable_on_a_tint_of_their_own_color(source: str, scheme: str) -> None:
    colors = {"dashboard": dashboard, "elements": elements}[source]()[scheme]
    text = STYLE if source == "dashboard" else ELEMENTS
    badges = re.findall(_BADGE, text)
    assert badges
    for tint, share, ground, on_it in badges:
        behind = mixed(colors[tint], int(share) / 100, colors[ground])
        assert contrast(colors[on_it], behind) >= LEAST, (on_it, tint, share)
