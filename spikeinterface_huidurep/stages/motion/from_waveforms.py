"""Motion from waveforms: on a probe with few contacts, all units' waveforms change together when the probe moves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from spikeinterface.core.motion import Motion

from ..spike_features import SpikeFeatures
from .curves import CURVES, follow_curves
from .dredge import BIN_S
from .path import ROUNDS, likeliest_path

# steps of the displacement that are told apart between its two ends
STATES = 41
# the clusters that serve as words: so many spikes a word, and the least and the most words
SPIKES_A_WORD, LEAST_WORDS, MOST_WORDS = 100, 20, 120
# weight of the logarithm of the amplitude, and the distance (um) that counts as 1, relative to the embedding
AMPLITUDE_WEIGHT, LOCATION_UM = 3.0, 5.0
# bins of time are longer than DREDge's where these have fewer spikes than this on average
SPIKES_A_BIN = 8.0
# words are smoothed over so many bins for the first order, then over as many states; each state has this share of what
# all states have
SMOOTH, ANY_STATE = 2.0, 0.02
# what a step to the next state costs, in units of the logarithm of the likelihood
COST_OF_STEP = 1.0
# similar words that are of one kind
WORDS_A_KIND = 6
# groups of similar words; a group follows the others if the states say more of its words than they do at so many other
# times: more than the mean by so many standard deviations
GROUPS, OTHER_TIMES, BEYOND_STD = 8, 40, 3.0
# states are coarser there, since a group has few spikes
SMOOTH_STATES_OF_GROUP = 4.0
# a motion that goes one way says as much when it is shifted in time: it is also cut into so many pieces, which are put
# in another order and direction; states are coarser again there
PIECES, SMOOTH_STATES_OF_PIECES = 16, 8.0
# numbers of groups whose change along the motion gives it its scale
SLOPE_GROUPS = (5, 10, 20)
# width of the windows of depth in which motion is estimated, um: on a probe whose contacts span less, depths do not
# show how far it moves
WINDOW_UM = 100.0
# what the vector and the amplitude of a spike on such a probe change by when it moves by 1 um
CHANGE_PER_UM = 0.09


class WaveformMotion(NamedTuple):
    """
    A motion, and the share of the spikes whose units follow it though it was found without them.

    For `followed` the motion is compared with itself at other times, for `in_order` with its pieces in another order.
    The second also shows a motion that goes one way, but is high where many units change slowly by themselves, too.
    """

    motion: Motion
    followed: float
    in_order: float


def has_depth(channel_locations: np.ndarray) -> bool:
    """Whether the contacts, (n_channels, 2) in um, span enough depth to show displacements in um."""
    return bool(np.ptp(channel_locations[:, 1]) >= WINDOW_UM)


def motion_from_waveforms(times_s: np.ndarray, spikes: SpikeFeatures, seed: int = 0) -> WaveformMotion:
    """
    Estimate the displacement of a probe that is too short to see its spikes move along it.

    Each unit's waveform follows a curve as the probe moves, and all units are at the same point of theirs at a time.
    The spikes are clustered finely, into words. Bins of time are put in order by the first principal component of their
    words (square roots of the counts). The order is refined in turns: the share of each word at each of 41 states, then
    the path over the states that makes the bins' words the likeliest, with a cost of moving (a hidden Markov model
    trained on its Viterbi paths).

    The steps of the order become um by how much waveforms change in a um on average: a scale of its own. Its sign is
    that of the units' locations.

    Parameters
    ----------
    times_s : (n_spikes,) float
        Time of each spike, s, on one time line.
    spikes : SpikeFeatures
        Vectors, locations (um) and amplitudes (units of noise).
    seed : int
        For the clustering.

    Returns
    -------
    WaveformMotion
        The motion, the same at all depths, with a median of zero; and the shares of the spikes (0 to 1) whose units
        follow what the other units show.
    """
    features = _features(spikes)
    n_words = int(np.clip(len(features) // SPIKES_A_WORD, LEAST_WORDS, MOST_WORDS))
    n_words = min(n_words, len(features))
    words, centres = _words(features, n_words, seed)
    bin_s = max(BIN_S, SPIKES_A_BIN * np.ptp(times_s) / len(times_s))
    bins = (times_s / bin_s).astype(int)
    counts = np.zeros((bins.max() + 1, n_words))
    np.add.at(counts, (bins, words), 1)

    kinds = _kinds(centres, n_words // WORDS_A_KIND, seed)
    states = _states(counts, kinds, seed)
    moved = states * _um_per_state(features, states[bins].astype(float), seed)
    motion = Motion([(moved - np.median(moved))[:, None]], [(np.arange(len(counts)) + 0.5) * bin_s], np.zeros(1))
    return WaveformMotion(motion, *_followed(counts, kinds, _kinds(centres, GROUPS, seed), seed))


def refine_from_waveforms(motion: Motion, times_s: np.ndarray, spikes: SpikeFeatures, seed: int = 0) -> Motion:
    """
    Refine what `motion_from_waveforms` has found by the curves that units follow (`follow_curves`).

    Parameters and what is returned are as there.
    """
    features, moved = _features(spikes), motion.displacement[0][:, 0]
    bins = motion.temporal_bins_s[0]
    at_spikes = moved[np.searchsorted(0.5 * (bins[:-1] + bins[1:]), times_s)]
    if at_spikes.std() == 0:
        return motion
    groups, _ = _slopes(features, (at_spikes - at_spikes.mean()) / at_spikes.std(), CURVES, seed)
    return follow_curves(motion, times_s, features, groups)


def _features(spikes):
    """In what spikes are compared: vectors beside amplitudes and locations, (n_spikes, n_features) float64."""
    logs = AMPLITUDE_WEIGHT * np.log(np.maximum(spikes.amplitude, 1.0))
    return np.column_stack([spikes.embedding, logs, spikes.location / LOCATION_UM]).astype("float64")


def _words(features, n_words, seed):
    """Fine cluster of each spike, and the clusters' centres."""
    found = KMeans(n_words, n_init=1, max_iter=30, random_state=seed).fit(features)
    return found.labels_, found.cluster_centers_


def _kinds(centres, n_kinds, seed):
    """Coarse cluster of each word, (n_words,) int."""
    return KMeans(min(max(n_kinds, 1), len(centres)), n_init=3, random_state=seed).fit_predict(centres)


def _states(counts, kinds, seed):
    """
    The likeliest state of each bin, (n_bins,) int, from its words' counts (n_bins, n_words).

    A word counts as a share of all words of its kind, (n_words,): a change of firing rates is not motion.
    """
    rates = gaussian_filter1d(counts, SMOOTH, axis=0)
    weights = np.sqrt(counts.sum(axis=0) / counts.sum())
    shares = np.sqrt(_shares_of_kind(rates + 1e-6 * counts.mean(axis=0), kinds)) * weights
    order = PCA(1, random_state=seed).fit_transform(shares)[:, 0]
    low, high = np.percentile(order, [1, 99])
    states = np.clip(np.round((order - low) / max(high - low, 1e-9) * (STATES - 1)), 0, STATES - 1).astype(int)
    for _ in range(ROUNDS):
        _, smooth = _at_states(states, counts, SMOOTH)
        states = likeliest_path(counts @ np.log(_shares_of_kind(smooth, kinds)).T, COST_OF_STEP)
    return states


def _at_states(states, counts, smoothing):
    """Counts of the words at each state, (STATES, n_words), and the same smoothed over the states."""
    at_state = np.zeros((STATES, counts.shape[1]))
    np.add.at(at_state, states, counts)
    smooth = gaussian_filter1d(at_state, smoothing, axis=0, mode="nearest")
    return at_state, smooth + (ANY_STATE * counts.mean(axis=0) + 1e-6)


def _shares_of_kind(counts, kinds):
    """Each column as a share of all columns of its kind."""
    one_of = (kinds[:, None] == kinds).astype(float)
    return counts / (counts @ one_of)


def _followed(counts, kinds, groups, seed):
    """
    Shares of the spikes in groups of words that follow the states which the other groups show.

    How much the states tell of a group's words is compared with what they tell at other times, shifted around, and with
    what they tell with their pieces in another order. One neuron that changes by itself is followed by no other.
    """
    following = np.zeros(2)
    shifts = np.linspace(0.1, 0.9, OTHER_TIMES) * len(counts)
    for group in np.unique(groups):
        mine = groups == group
        if mine.all():
            continue
        states = _states(counts[:, ~mine], kinds[~mine], seed)
        shifted = [np.roll(states, int(shift)) for shift in shifts]
        generator = np.random.default_rng(seed)
        mixed = [_in_another_order(states, generator) for _ in range(OTHER_TIMES)]
        for place, (others, smoothing) in enumerate(
            ((shifted, SMOOTH_STATES_OF_GROUP), (mixed, SMOOTH_STATES_OF_PIECES))
        ):
            told = _told(states, counts[:, mine], kinds[mine], smoothing)
            less = [_told(other, counts[:, mine], kinds[mine], smoothing) for other in others]
            if told > np.mean(less) + BEYOND_STD * np.std(less):
                following[place] += counts[:, mine].sum()
    return (following / counts.sum()).tolist()


def _in_another_order(states, generator):
    """The states with their pieces in another order, some of them backwards."""
    pieces = np.array_split(states, PIECES)
    order, backwards = generator.permutation(PIECES), generator.random(PIECES) < 0.5
    return np.concatenate(
        [pieces[place][::-1] if back else pieces[place] for place, back in zip(order, backwards, strict=True)]
    )


def _told(states, counts, kinds, smoothing):
    """How much likelier the words are, given the states, than without (natural logarithm)."""
    at_state, smooth = _at_states(states, counts, smoothing)
    gain = np.log(_shares_of_kind(smooth, kinds) / _shares_of_kind(counts.sum(axis=0, keepdims=True) + 1e-6, kinds))
    return float((at_state * gain).sum())


def _um_per_state(features, states, seed):
    """How far (um, with its sign) the probe moves from one state to the next; the states are those at the spikes."""
    spread = states.std()
    if spread == 0:
        return 1.0
    displacement = (states - states.mean()) / spread
    # many groups resolve small units, few groups hold both ends of a jump: the largest change of all numbers is taken
    found = [_mean_move(features, displacement, n_groups, seed) for n_groups in SLOPE_GROUPS]
    return max(found, key=abs) / spread


def _mean_move(features, displacement, n_groups, seed):
    """Change along one standard deviation of the displacement, um with its sign, from the slopes of so many groups."""
    groups, slopes = _slopes(features, displacement, n_groups, seed)
    change = np.linalg.norm(slopes[groups][:, :-2], axis=1).mean()
    return (1.0 if slopes[groups, -1].mean() >= 0 else -1.0) * change / CHANGE_PER_UM


def _slopes(features, displacement, n_groups, seed):
    """
    Groups of spikes that change along straight lines with the displacement, and the slopes of their features.

    Groups are found in the features less the change that the groups before showed, in turns.
    """
    n_groups = min(n_groups, len(features))
    registered = features
    for _ in range(ROUNDS):
        groups, _ = _words(registered, n_groups, seed)
        slopes = np.zeros((n_groups, features.shape[1]))
        for group in range(n_groups):
            inside = groups == group
            centred = displacement[inside] - displacement[inside].mean()
            change = centred @ (features[inside] - features[inside].mean(axis=0))
            slopes[group] = change / (centred @ centred + 5.0)  # as if five spikes more had not moved
        registered = features - slopes[groups] * displacement[:, None]
    return groups, slopes
