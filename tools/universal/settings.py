"""The numbers of the universal model: what was chosen, on what, and why (`docs/universal.md` has the measurements)."""

from __future__ import annotations

from dataclasses import dataclass

# Lags that changes are correlated with. The first ones are no periods; 0 is the variance.
LAGS = (*range(65), 72, 80, 84, 90, 96, 100, 120, 144, 180, 192, 240, 288)
SHORTEST = 3  # period
COMMON = (4, 5, 6, 7, 12, 24, 30, 48, 52, 60, 96, 144, 288)  # periods that calendars and clocks make
LENGTH = 344  # changes kept: a week of half hours or of hours, and some around
RECENT = 9  # changes that the autoregression sees
SEASONS = 8  # at most, that a profile is made of
SPAN = 4  # changes of each season that are read: one after the next one, the next, and two before it
READ = (
    4  # profiles that are read out of the history: none, the mean of the last seasons, the last, the one seven before
)
PROFILES = READ + 1  # and the mean one, grown as the level has
CONSTANT = 0.3  # a column of the autoregression: small, so that it learns a drift slowly
TINY = 1e-30  # the smallest scale
LARGEST = 1e37  # changes beyond count as this one, so that no difference of two is infinite
# Exponential smoothings: how much of an error goes to the level, how much of that to the trend, how it is damped. The
# first forecasts the last value.
SMOOTHINGS = (
    (1.0, 0.0, 0.0),
    (0.8, 0.0, 0.0),
    (0.6, 0.0, 0.0),
    (0.4, 0.0, 0.0),
    (0.25, 0.0, 0.0),
    (0.12, 0.0, 0.0),
    (0.05, 0.0, 0.0),
    (0.02, 0.0, 0.0),
    (1.0, 0.02, 1.0),
    (0.9, 0.3, 0.9),
    (0.5, 0.1, 0.95),
    (0.3, 0.05, 0.98),
)
PER_PROFILE = len(SMOOTHINGS)
EXPERTS = PROFILES * PER_PROFILE + 1  # the autoregression is the last
# What they are called, to people.
PROFILE_NAMES = ("", " + mean of seasons", " + the last season", " + seven seasons ago", " + mean of seasons, grown")
# Squared errors over naive that the experts had on values 2 to 40 of series: by smoothing, as a share by profile, and
# more than it had for the autoregression, whose good errors there are those of few series.
YOUNG = (1.0, 1.03, 1.16, 1.36, 1.52, 1.69, 1.8, 1.83, 1.0, 1.05, 1.25, 1.46)
YOUNG_PROFILES = (1.0, 0.94, 1.02, 1.04, 0.94)
YOUNG_AUTOREGRESSION = 1.2


def expert_names() -> list[str]:
    """The experts by name, in their order: `level 0.25 + the last season`, `trend 0.5 0.1`, `autoregression`."""
    plain = [
        f"trend {alpha:g} {beta:g}" if beta else "last value" if alpha == 1 else f"level {alpha:g}"
        for alpha, beta, _ in SMOOTHINGS
    ]
    return [*(name + profile for profile in PROFILE_NAMES for name in plain), "autoregression"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Chosen on public series, see `docs/universal.md`."""

    forget_losses: float = 0.985  # of the experts' squared errors, a step
    least_loss: float = 0.005  # squared units: experts that are all nearly right weigh the same
    most_loss: float = 49.0  # squared units; an error beyond counts as this one
    handicap: float = 0.87  # what errors of the autoregression count: it is better than it was
    sharpness: float = 14.0  # of the mixture
    believed: float = 4.0  # values that the errors of young series count for
    prior: float = 0.08  # variance of each weight of the autoregression before the first value
    drift: float = 1e-5  # by which it grows a step
    bounded: float = 2e-5  # share of the covariance that is forgotten a step
    most_error: float = 2.0  # units; what the autoregression learns from at most
    most_seen: float = 3.0  # units
    most_said: float = 8.0  # units
    scale_rate: float = 0.005  # how fast the scale follows
    most_scaled: float = 64.0  # squared units
    most_trend: float = 4.0  # units of an error that a trend takes in
    most_step: float = 100.0  # units of an error that a level takes in, but that of the last value
    most_change: float = 3.0  # units of a change that is correlated
    forget_period: float = 0.9998  # of correlations, a step
    threshold: float = 0.15  # of a change's variance that its correlation with that of a period ago is above
    common_threshold: float = 0.08  # for common periods
    longer: float = 0.01  # more for each doubling of the period beyond 8
    young: float = 8.0  # more, over the number of values
    common_young: float = 4.0  # for common periods
    half: float = 0.2  # of the correlation at half of a period that is taken off: of two years a year is the period
    older_seasons: float = 0.85  # what a season counts beside the one after it
    most_growth: float = 2.0  # of a profile, and its inverse the least
    # What the autoregression sees beside recent changes, by place: levels of smoothings less the last value, in
    # PER_PROFILE by profile; changes of profiles, in SPAN by profile, and that of the grown profile.
    levels: tuple[int, ...] = (4, 7, 16, 18, 40, 52)
    changes: tuple[int, ...] = (4, 5, 6, 7, 9, 13, 14, 16)

    @property
    def columns(self) -> int:
        """How many columns the autoregression has."""
        return RECENT + len(self.levels) + len(self.changes) + 1

    @property
    def first_losses(self) -> tuple[float, ...]:
        """What the experts' errors begin with, squared units."""
        smoothings = (profile * smoothing for profile in YOUNG_PROFILES for smoothing in YOUNG)
        return tuple(round(self.believed * loss, 6) for loss in (*smoothings, YOUNG_AUTOREGRESSION))
