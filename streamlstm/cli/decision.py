"""What becomes of a challenger, by live figures: promoted if it is better, else taken away."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from streamlstm.cli.model_list import SURE, figures_of, verdict
from streamlstm.cli.options import note, shown_model
from streamlstm.cli.trial import Trial
from streamlstm.errors import ChallengerStoppedError, StoreUnavailableError
from streamlstm.models import Model

LEAST_PAUSE_S, MOST_PAUSE_S = 1.0, 60.0  # between two looks at the figures

Tell = Callable[..., None]  # lines for people, and facts for programs


@dataclass(frozen=True, kw_only=True)
class Decision:
    """When it is made, and by what."""

    better: float  # share by which the challenger's error has to be below the champion's
    enough: int  # values that both have forecast live
    within_s: float = math.inf  # how long they are waited for

    def on(self, trial: Trial, challenger: str, tell: Tell) -> bool:
        """Wait for enough values, then promote or take away; returns whether there is no challenger any more.

        `tell` is told `live` (the figures), `promoted` (None: not decided yet) and `removed`.
        """
        model, _ = trial.model(challenger)
        name = shown_model(challenger)
        try:
            figures = self._awaited(trial, model)
        except ChallengerStoppedError as error:
            trial.remove(challenger)
            tell([f"{error}; it is taken away"], promoted=False, removed=True)
            return True
        if figures["values"] < self.enough:
            many = f"{figures['values']:,} of {self.enough:,} values have been forecast by both"
            tell([f"{many}; the next `retrain` goes on with {name}"], live=figures, promoted=None, removed=False)
            return False
        difference = figures["difference"]
        is_better = difference is not None and difference["better"] >= self.better and difference["p"] < SURE
        if is_better:
            trial.promote(challenger)
            what = f"so {name} is promoted; the former champion is the challenger now"
        else:
            trial.remove(challenger)
            what = f"which is not clearly {self.better:.1%} better, so {name} is taken away"
        tell([f"live: {verdict(figures)}", what], live=figures, promoted=is_better, removed=not is_better)
        return not is_better

    def _awaited(self, trial: Trial, model: Model) -> dict[str, Any]:
        """The figures once there are enough, or once they have been waited for long enough."""
        began_s, said, pause_s = time.monotonic(), False, LEAST_PAUSE_S
        while True:
            try:
                found = figures_of(trial.live(model))
            except StoreUnavailableError as error:
                note(f"{error}; trying again")
                found = None
            left_s = self.within_s - (time.monotonic() - began_s)
            if found is not None and (found["values"] >= self.enough or left_s <= 0):
                return found
            if found is not None and not said:
                note(f"waiting until {self.enough:,} values have been forecast by both ({found['values']:,} are)")
                said = True
            time.sleep(max(0.1, min(pause_s, left_s)))
            pause_s = min(MOST_PAUSE_S, 1.1 * pause_s)
