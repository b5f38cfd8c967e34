"""Fits the model of pairs with which `match_units` starts, to sessions whose neurons are known.

    python studies/days_model.py OUTPUT --templates LIBRARIES --write

The sessions are those of the suite `days` with other seeds and of the five cell models that the suite leaves out, 60 s
each, sorted by huidurep. Without --write the fit is only printed, with what it gives on each set of sessions when it is
fitted to the others.

    python studies/days_model.py OUTPUT --templates LIBRARIES --competition-only --write

Then scale and shift of the log odds are fitted to probabilities, after the pairs have competed for their partners. That
needs more pairs than a few sorts have: it is done on mean waveforms without recordings (`template_days.py`), again of
the five cell models, half of the sets of each probe. The table is of the other half.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from template_days import mean_waveforms

from spikeinterface_huidurep import matching
from spikeinterface_huidurep.benchmark.days_benchmark import MATCHED, DaysPairs, score_days, sorted_days
from spikeinterface_huidurep.benchmark.days_measures import PairsOfSessions, figures
from spikeinterface_huidurep.benchmark.days_recordings import DAYS, get_days
from spikeinterface_huidurep.encoder import load_encoder
from spikeinterface_huidurep.matching.exclusive import match_probabilities
from spikeinterface_huidurep.matching.logistic import falling_logistic
from spikeinterface_huidurep.matching.match import displacement_between, fit_to_halves, log_odds_matrix
from spikeinterface_huidurep.matching.pair_model import MODEL_FILE, PairModel, features, fit_model
from spikeinterface_huidurep.matching.scores import NAMES, PairScores, pair_scores

FITTED = tuple(
    f"L5_{model}_1" for model in ("BTC_bAC217", "DBC_bAC217", "NGC_bNAC219", "STPC_cADpyr232", "TTPC1_cADpyr232")
)
SETS = ("days_tetrode", "days_64_far", "days_linear32_far", "days_tetrode_2")
# Of the ridge: with 0.03 to 0.1 the log loss on sessions that are left out is the same within a hundredth, with 0.3 and
# more the probabilities are too cautious.
STRENGTH = 0.05

# Sets for scale and shift, and how many of each (seeds 5000, 5100, ...): half are fitted to. Nobody knows how many
# neurons two days share: in half of the sets it is as in the suite, in the others none are there always.
COMPETING = ("days_64_far", "days_linear32", "days_linear32_far", "days_tetrode", "days_tetrode_2")
COPIES, SHARED = 8, (0.7, 0.0)
SURE = 1e-4  # a wrong pair may cost no more than one of this probability

Pairs = list[tuple[PairScores, PairsOfSessions]]


def pairs_of_set(name: str, output: Path, templates: Path, duration_s: float, n_jobs: int | None) -> Pairs:
    """Scores and truth of all pairs of sessions of one set."""
    settings = DAYS[name]
    settings = dataclasses.replace(settings, name=f"fit_{name}", models=FITTED, seed=settings.seed + 1000)
    truths = get_days(settings, output / "cache", templates, duration_s)
    analyzers = sorted_days(truths, "huidurep", output, n_jobs=n_jobs)
    if analyzers is None:
        raise RuntimeError(f"The sessions {name} could not be sorted.")
    matches = matching.match_units(analyzers, n_jobs=1)
    found: list[DaysPairs] = score_days(name, "huidurep", truths, analyzers, matches)
    pairs = []
    for one in found:
        a, b = one.sessions
        first, second = matches.sessions[a].units, matches.sessions[b].units
        pairs.append((pair_scores(first, second, matches.displacements[a, b]), one.methods[MATCHED]))
    return pairs


def fit(pairs: Pairs) -> PairModel:
    """Fit the model around what each score says by itself, all counting alike: naive Bayes, tempered."""
    values, same = [], []
    for scores, truth in pairs:
        wanted = truth.wanted[scores.a, scores.b]
        kept = wanted | ~truth.same[scores.a, scores.b]
        values.append(scores.values[kept])
        same.append(wanted[kept])
    x, y = np.concatenate(values), np.concatenate(same)
    alone = [falling_logistic(features(x)[:, [k]], y, np.zeros(2), STRENGTH) for k in range(len(NAMES))]
    weights = np.array([weight[0] for weight, _ in alone]) / len(NAMES)
    return fit_model(x, y, PairModel(weights, float(np.mean([offset for _, offset in alone]))), STRENGTH)


def checked(model: PairModel, pairs: Pairs) -> dict[str, float]:
    """Figures of the model on pairs of sessions."""
    scored = []
    for scores, truth in pairs:
        probability, _ = match_probabilities(log_odds_matrix(model, scores, truth.same.shape))
        scored.append(PairsOfSessions(probability, truth.same, truth.wanted))
    return figures(scored)


def competing_pairs(name: str, copy: int, templates: Path, encoder) -> list[tuple[np.ndarray, np.ndarray]]:
    """Log odds of all pairs of two sessions after the fit to their own halves, and which are one neuron."""
    settings, seed = DAYS[name], 5000 + 100 * copy
    settings = dataclasses.replace(
        settings, models=FITTED, seed=settings.seed + seed, duration_s=60.0, shared=SHARED[copy // 2 % len(SHARED)]
    )
    sessions = mean_waveforms(settings, templates, encoder)
    model = fit_to_halves([(one.early, one.late) for one in sessions], encoder, np.random.default_rng(seed))
    found = []
    for one, other in combinations(sessions, 2):
        scores = pair_scores(one.units, other.units, displacement_between(one.units, other.units, model))
        same = one.neuron[:, None] == other.neuron[None]
        found.append((log_odds_matrix(model, scores, same.shape), same))
    return found


def in_competition_of(pairs: list[tuple[np.ndarray, np.ndarray]], scale: float, shift: float) -> list[PairsOfSessions]:
    """Probabilities after the competition, beside the truth."""
    return [PairsOfSessions(match_probabilities(scale * odds + shift)[0], same, same) for odds, same in pairs]


def fit_competition(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """Scale and shift of the log odds at which the probabilities are likeliest."""

    def loss(parameters: np.ndarray) -> float:
        total = 0.0
        for one in in_competition_of(pairs, float(np.exp(parameters[0])), float(parameters[1])):
            right = np.where(one.same, one.score, 1 - one.score)
            total -= float(np.log(np.clip(right, SURE, 1)).sum())
        return total

    found = minimize(
        loss, np.array([0.1, 2.0]), method="Nelder-Mead", options={"xatol": 0.05, "fatol": 0.5, "maxfev": 40}
    )
    return float(np.exp(found.x[0])), float(found.x[1])


def measure_competition(templates: Path) -> dict[str, float]:
    """Fit scale and shift, and print what they give on sets that were left out."""
    encoder = load_encoder("default", "cpu")
    fitted: list[tuple[np.ndarray, np.ndarray]] = []
    left_out: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for name in COMPETING:
        for copy in range(COPIES):
            pairs = competing_pairs(name, copy, templates, encoder)
            if copy % 2 == 0:
                fitted += pairs
            else:
                shared = SHARED[copy // 2 % len(SHARED)]
                left_out.setdefault(f"{name}, {100 * shared:.0f} % always there", []).extend(pairs)
    scale, shift = (round(value, 2) for value in fit_competition(fitted))
    print("| sets left out | shared | recall | precision | calibration error before | after |")
    print("|---|---|---|---|---|---|")
    left_out["all"] = [pair for pairs in left_out.values() for pair in pairs]
    for name, pairs in left_out.items():
        before, after = figures(in_competition_of(pairs, 1.0, 0.0)), figures(in_competition_of(pairs, scale, shift))
        print(
            f"| {name} | {after['shared']} | {after['recall']:.3f} | {after['precision']:.3f} | "
            f"{before['calibration']:.3f} | {after['calibration']:.3f} |"
        )
    return {"scale": scale, "shift": shift}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--templates", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--duration", type=float, default=60.0)
    parser.add_argument("--n-jobs", type=int)
    parser.add_argument("--competition-only", action="store_true", help="fit scale and shift only")
    parser.add_argument("--write", action="store_true", help="write the model into the package")
    arguments = parser.parse_args(argv)
    path = Path(matching.__file__).parent / MODEL_FILE
    saved = json.loads(path.read_text(encoding="utf8"))
    if arguments.competition_only:
        saved.update(measure_competition(arguments.templates))
    else:
        saved.update(measure_model(arguments))
    print(json.dumps(saved))
    if arguments.write:
        path.write_text(json.dumps(saved, indent=2) + "\n", encoding="utf8")
    return 0


def measure_model(arguments: argparse.Namespace) -> dict:
    """Fit the weights to sorted sessions, and print what they give on each set when they are fitted to the others."""
    sets = {
        name: pairs_of_set(name, arguments.output, arguments.templates, arguments.duration, arguments.n_jobs)
        for name in arguments.sets
    }
    print("| left out | shared | recall | precision | area | calibration error |")
    print("|---|---|---|---|---|---|")
    for name, pairs in sets.items():
        others = [pair for other, some in sets.items() if other != name or len(sets) == 1 for pair in some]
        row = checked(fit(others), pairs)
        print(
            f"| {name} | {row['shared']} | {row['recall']:.3f} | {row['precision']:.3f} | {row['area']:.4f} | "
            f"{row['calibration']:.3f} |"
        )
    model = fit([pair for pairs in sets.values() for pair in pairs])
    weights = {name: round(float(weight), 3) for name, weight in zip(NAMES, model.weights, strict=True)}
    return {"weights": weights, "offset": round(model.offset, 3)}


if __name__ == "__main__":
    raise SystemExit(main())
