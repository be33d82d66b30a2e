"""Colours by role, light and dark. The scale runs from what recedes into the page to what stands out of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def _blend(stops: tuple[str, ...], count: int) -> list[str]:
    """`count` colours from the first stop to the last, evenly spaced."""
    rgb = np.array([list(bytes.fromhex(stop[1:])) for stop in stops])  # [stops, 3]
    at, places = np.linspace(0, len(stops) - 1, count), np.arange(len(stops))
    mixed = np.column_stack([np.interp(at, places, channel) for channel in rgb.T])  # [count, 3]
    return [f"#{bytes(colour).hex()}" for colour in mixed.round().astype(np.uint8)]


SCALE = 12


def _palette(scale: tuple[str, ...], series: tuple[str, ...], **roles: str) -> Mapping[str, str]:
    steps = {f"s{i}": colour for i, colour in enumerate(_blend(scale, SCALE))}
    return {**roles, **steps, **{f"c{i}": colour for i, colour in enumerate(series)}}


LIGHT = _palette(
    ("#d8dde5", "#f0b775", "#c8577a", "#4b2a8f"),
    ("#2563c9", "#d97a1f", "#14866a", "#b8348a", "#7a52cc", "#7d7f1e", "#c0392b", "#3f7f9a"),
    paper="#ffffff",
    page="#f6f7f9",
    text="#1c2430",
    quiet="#5b6675",
    line="#dfe3e9",
    accent="#2563c9",
    good="#14866a",
    pruned="#c07a12",
    failed="#c0392b",
    running="#7a52cc",
    muted="#98a2b0",
)
DARK = _palette(
    ("#39414d", "#7d4f8f", "#e0788f", "#ffe2a8"),
    ("#7cb0ff", "#f5a55a", "#4fd1a5", "#f286cf", "#b39bff", "#cdd060", "#ff8a7a", "#7fd0ec"),
    paper="#171c24",
    page="#0f1319",
    text="#e6eaf0",
    quiet="#9aa6b5",
    line="#2b333f",
    accent="#7cb0ff",
    good="#4fd1a5",
    pruned="#f0b455",
    failed="#ff8a7a",
    running="#b39bff",
    muted="#6d7887",
)
