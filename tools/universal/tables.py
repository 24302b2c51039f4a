"""Constant tables of the graph: by period, and what is made of what a step has read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from settings import (
    COMMON,
    EXPERTS,
    LAGS,
    LENGTH,
    LOOKED_AT,
    NEXT,
    PAST,
    PER_PROFILE,
    PROFILES,
    RECENT,
    SEASONS,
    SHORTEST,
    SIMPLE,
    SMOOTHED,
    SPAN,
    WEEKS,
    Settings,
)

Float32 = NDArray[np.float32]
HISTORY = 1 + LENGTH  # changes, the oldest first, and before them a zero

# What a step has read, by place: levels of the smoothings, changes of seasons before, recent changes, the next change
# of the mean profile as it has grown, the scale.
PAST_AT = SMOOTHED
RECENT_AT = PAST_AT + PAST
GROWN_AT = RECENT_AT + RECENT
SCALE_AT = GROWN_AT + 1
READ = SCALE_AT + 1


class Tables(NamedTuple):
    """What is looked up for a lag, rows as LAGS; a lag that is no period has zeros."""

    places: NDArray[np.int64]  # (M, n), of the changes of seasons LOOKED_AT, in the history; of those not kept its zero
    standing: NDArray[np.int64]  # (M, PAST), which of these the changes that are read are
    before: Float32  # (M, HISTORY), what sums up to the latest value less the mean of those whole seasons ago


def season_shares(settings: Settings) -> NDArray[np.float64]:
    """What each of the last seasons counts in the mean profile (SEASONS,)."""
    counts = settings.older_seasons ** np.arange(1, SEASONS + 1)
    return counts / counts.sum()


def tables(settings: Settings) -> Tables:
    """For every lag, what it is as a period.

    Where fewer than SEASONS of them are kept, those that are stand for the others too, in turn; where there is no
    second week, the first does.
    """
    places = np.zeros((len(LAGS), len(LOOKED_AT), SPAN), np.int64)
    standing = np.zeros((len(LAGS), SEASONS + len(WEEKS), SPAN), np.int64)
    before = np.zeros((len(LAGS), HISTORY))
    for row, period in enumerate(LAGS):
        if period < SHORTEST:
            continue
        kept = (LENGTH + 1 - SPAN) // period
        seasons = [(one - 1) % kept + 1 for one in range(1, SEASONS + 1)]
        weeks = [max((week for week in WEEKS[: at + 1] if week <= kept), default=0) for at in range(len(WEEKS))]
        for at, season in enumerate(LOOKED_AT):
            if season <= kept:
                places[row, at] = HISTORY + 1 - np.arange(SPAN) - season * period
        for at, season in enumerate((*seasons, *weeks)):
            # A week that is not kept has the zeros of one; a single week stands for both.
            place = LOOKED_AT.index(season or WEEKS[0])
            standing[row, at] = place * SPAN + np.arange(SPAN)
        for season, share in zip(seasons, season_shares(settings), strict=True):
            before[row, HISTORY - season * period :] += share
    return Tables(*(table.reshape(len(LAGS), -1) for table in (places, standing)), before.astype(np.float32))


def others(settings: Settings) -> Float32:
    """What the squares of the changes of seasons LOOKED_AT count for each of them: those of the others at its place."""
    seasons = 1.0 - np.eye(len(LOOKED_AT))
    return (settings.alike * np.kron(seasons, np.eye(SPAN))).astype(np.float32)


def profiles(settings: Settings) -> NDArray[np.float64]:
    """Of what has been read, the changes of each profile (PROFILES, SPAN, READ); of the grown one the next alone."""
    made = np.zeros((PROFILES, SPAN, READ))
    weeks = settings.older_week ** np.arange(1, len(WEEKS) + 1)
    for at in range(SPAN):
        seasons = PAST_AT + SPAN * np.arange(SEASONS + len(WEEKS)) + at
        made[1, at, seasons[:SEASONS]] = season_shares(settings)
        made[2, at, seasons[0]] = 1.0
        made[3, at, seasons[SEASONS:]] = weeks / weeks.sum()
    made[4, NEXT, GROWN_AT] = 1.0
    return made


def mean_next(settings: Settings) -> Float32:
    """Of the changes of seasons before, the next one of the mean profile (PAST, 1)."""
    return profiles(settings)[1, NEXT, PAST_AT : PAST_AT + PAST, None].astype(np.float32)


def columns(settings: Settings) -> Float32:
    """Of what has been read, what the autoregression sees, not yet in units (READ, n + 1): its columns, and a zero."""
    of_profiles = profiles(settings)
    made = np.zeros((READ, settings.columns + 1))
    rows = [*range(RECENT_AT, RECENT_AT + RECENT), *(p * PER_PROFILE + one for p, one in settings.levels)]
    made[rows, np.arange(len(rows))] = 1.0
    for place, (profile, at) in enumerate(settings.changes, len(rows)):
        made[:, place] = of_profiles[profile, at]
    made[SCALE_AT, settings.columns - 1] = 1.0
    return made.astype(np.float32)


def said(settings: Settings) -> tuple[Float32, Float32]:
    """What the experts say, of what has been read (READ, EXPERTS), and of what the autoregression says (1, EXPERTS)."""
    nexts = profiles(settings)[:, NEXT].T
    simple = np.zeros((READ, SIMPLE))
    simple[:, :PROFILES] = nexts
    simple[:, PROFILES:] = np.repeat(nexts, PER_PROFILE, axis=1)
    simple[np.arange(SMOOTHED), PROFILES + np.arange(SMOOTHED)] = 1.0
    shares = np.zeros((1, EXPERTS))
    shares[0, SIMPLE], shares[0, SIMPLE + 1 :] = 1.0, 0.5
    read = np.concatenate([simple, np.zeros((READ, 1)), simple / 2], axis=1)
    return read.astype(np.float32), shares.astype(np.float32)


def scores(settings: Settings) -> tuple[Float32, Float32, Float32]:
    """Of correlations, how far lags stand out as periods (M, M), what is added (M,), what positive ones add (M, M).

    Of its correlation is taken off a share of the variance, which is that with lag 0, and so many squared units while
    few have been seen. Lag 0 correlates with itself, and nothing of that is left: so it wins where no other stands out.
    Taken off is, where it is positive, a share of the correlation at half of the period too.
    """
    common = np.array([lag in COMMON for lag in LAGS])
    fixed = np.where(common, settings.common_threshold, settings.threshold)
    fixed += settings.longer * (np.log2(np.maximum(LAGS, 2)) - 3)
    young = np.where(common, settings.common_young, settings.young)
    fixed[:SHORTEST], young[:SHORTEST] = 2.0, 0.0
    fixed[0] = 1.0
    made, halves = np.eye(len(LAGS)), np.zeros((len(LAGS), len(LAGS)))
    made[0] -= fixed
    for place, lag in enumerate(LAGS):
        if lag >= 2 * SHORTEST:
            halves[LAGS.index(lag // 2), place] = -settings.half
    return made.astype(np.float32), -young.astype(np.float32), halves.astype(np.float32)
