"""The numbers of the universal model: what was chosen, on what, and why (`docs/universal.md` has the measurements)."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Lags that changes are correlated with. The first ones are no periods; 0 is the variance.
LAGS = (*range(65), 72, 80, 84, 90, 96, 100, 120, 144, 180, 192, 240, 288)
SHORTEST = 3  # period
COMMON = (4, 5, 6, 7, 12, 24, 30, 48, 52, 60, 96, 144, 288)  # periods that calendars and clocks make
LENGTH = 344  # changes kept: a week of half hours or of hours, and some around
RECENT = 9  # changes that the autoregression sees
SEASONS = 8  # at most, that a mean profile is made of
WEEKS = (7, 14)  # seasons before that are a week and two of days ago
SPAN = 4  # changes of each season that are read: one after the next one, the next, and two before it
NEXT = 1  # the place of the next one
PAST = (SEASONS + len(WEEKS)) * SPAN  # changes that are read
LOOKED_AT = (*range(1, SEASONS + 1), *(week for week in WEEKS if week > SEASONS))  # seasons before, each once
# Profiles: none, the mean of the last seasons, the last one, the one seven before with the one fourteen before, and the
# mean one, grown as the level has.
PROFILES = 5
TINY = 1e-30  # the smallest scale
LARGEST = 1e37  # changes beyond count as this one, so that no difference of two is infinite
LARGEST_SHARE = 1e18  # units; an error beyond counts as this one, so that its square is finite
MOST_UNITS = 1e9  # of a change a season before: beyond it counts as this one
# Exponential smoothings: how much of an error goes to the level, how much of that to the trend, how it is damped.
SMOOTHINGS = (
    (0.6, 0.0, 0.0),
    (0.4, 0.0, 0.0),
    (0.25, 0.0, 0.0),
    (0.12, 0.0, 0.0),
    (0.05, 0.0, 0.0),
    (0.02, 0.0, 0.0),
    (0.9, 0.3, 0.9),
    (0.5, 0.1, 0.95),
    (0.3, 0.05, 0.98),
)
PER_PROFILE = len(SMOOTHINGS)
SMOOTHED = PROFILES * PER_PROFILE
# The last value with each profile, and each smoothing with each.
SIMPLE = PROFILES + SMOOTHED
# These, the autoregression, and the means of it and of each: where both know something, and not the same, their mean is
# better than either, which weights that tell experts apart by their errors find out too late.
EXPERTS = SIMPLE + 1 + SIMPLE
# What they are called, to people.
PROFILE_NAMES = ("", " + mean of seasons", " + the last season", " + seven seasons ago", " + mean of seasons, grown")
# Squared errors over naive that the experts had on values 2 to 40 of series: of the last value and each smoothing, as a
# share by profile, and more than it had for the autoregression, whose good errors there are those of few series.
YOUNG_LAST = 1.0
YOUNG = (1.16, 1.36, 1.52, 1.69, 1.8, 1.83, 1.05, 1.25, 1.46)
YOUNG_PROFILES = (1.0, 0.94, 1.02, 1.04, 0.94)
YOUNG_AUTOREGRESSION = 1.2


def expert_names() -> list[str]:
    """The experts by name, in their order: `level 0.25 + the last season`, `trend 0.5 0.1`, `autoregression`."""
    plain = [f"trend {alpha:g} {beta:g}" if beta else f"level {alpha:g}" for alpha, beta, _ in SMOOTHINGS]
    simple = ["last value" + profile for profile in PROFILE_NAMES]
    simple += [name + profile for profile in PROFILE_NAMES for name in plain]
    return [*simple, "autoregression", *(f"half autoregression, half {name}" for name in simple)]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Chosen on public series, see `docs/universal.md`."""

    forget_losses: float = 0.98  # of the experts' squared errors, a step
    least_loss: float = 0.005  # squared units: experts that are all nearly right weigh the same
    most_loss: float = 49.0  # squared units; an error beyond counts as this one
    sharpness: float = 15.0  # of the mixture
    # What experts weigh before their errors are looked at, where a smoothing has 1: the last value more, because where
    # there is nothing to know one of the many others is better by chance; the autoregression, because it gets better.
    trust_last: float = 26.0
    trust_autoregression: float = 5.0
    trust_half: float = 0.5
    believed: float = 4.0  # values that the errors of young series count for
    young_last: float = 0.6  # what the last value's errors of these count: until others have shown more
    prior: float = 0.02  # variance of each weight of the autoregression at first, beside what `prior.json` says
    drift: float = 1e-5  # by which it grows a step
    bounded: float = 2e-5  # share of the covariance that is forgotten a step
    most_error: float = 2.0  # units; what the autoregression learns from at most
    most_seen: float = 3.0  # units
    most_said: float = 8.0  # units
    scale_rate: float = 0.005  # how fast the scale follows
    young_rate: float = 2.0  # over the number of values: at first; 1 would be the mean of all changes so far
    most_scaled: float = 20.0  # squared units; how much of a change the scale takes in
    young_scaled: float = 1000.0  # more, times how fast it follows: 25 in all once that is `scale_rate`
    # Units of an error that levels and trends take in: a spike leaves next to no trace in them, after a shift, which
    # the last value follows at once, they take some steps.
    most_taken: float = 3.0
    most_change: float = 3.0  # units of a change that is correlated
    forget_period: float = 0.9998  # of correlations, a step
    threshold: float = 0.15  # of a change's variance that its correlation with that of a period ago is above
    common_threshold: float = 0.08  # for common periods
    longer: float = 0.01  # more for each doubling of the period beyond 8
    young: float = 6.4  # squared units more, which count while there are few values
    common_young: float = 3.2  # for common periods
    half: float = 0.2  # of the correlation at half of a period that is taken off: of two years a year is the period
    older_seasons: float = 0.85  # what a season counts beside the one after it
    older_week: float = 0.6  # and the one fourteen before beside the one seven before
    # Units of a change a season before that no other season has at its place. Besides, the square of each of the
    # others' counts times `alike`: where that is 1 / (4 most_alone) or more, what came as large twice is whole.
    most_alone: float = 5.0
    alike: float = 0.0625
    most_growth: float = 2.0  # of a profile, and its inverse the least
    # What the autoregression sees beside recent changes: levels of smoothings less the last value, by profile and
    # smoothing; changes of profiles, by profile and place in SPAN.
    levels: tuple[tuple[int, int], ...] = ((0, 2), (0, 5), (1, 2), (1, 4), (3, 2), (4, 2))
    changes: tuple[tuple[int, int], ...] = ((1, 0), (1, 1), (1, 2), (1, 3), (2, 1), (3, 1), (3, 2), (4, NEXT))

    @property
    def columns(self) -> int:
        """How many columns the autoregression has."""
        return RECENT + len(self.levels) + len(self.changes) + 1

    @property
    def first_losses(self) -> tuple[float, ...]:
        """What the experts' errors begin with, squared units."""
        simple = [profile * YOUNG_LAST for profile in YOUNG_PROFILES]
        simple += [profile * smoothing for profile in YOUNG_PROFILES for smoothing in YOUNG]
        halves = [(YOUNG_AUTOREGRESSION + loss) / 2 for loss in simple]
        simple[0] *= self.young_last
        return tuple(round(self.believed * loss, 6) for loss in (*simple, YOUNG_AUTOREGRESSION, *halves))

    @property
    def trust(self) -> tuple[float, ...]:
        """What the experts weigh before their errors are looked at."""
        simple = (self.trust_last, *[1.0] * (SIMPLE - 1))
        return (*simple, self.trust_autoregression, *[self.trust_half] * SIMPLE)

    @property
    def log_trust(self) -> tuple[float, ...]:
        """Its logarithms; rounded, so that they are the same numbers anywhere."""
        return tuple(round(math.log(trust), 6) for trust in self.trust)
