"""What goes wrong in a laboratory: hum, stimulation, loose connectors, coarse converters, and nothing but noise."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import spikeinterface.full as si
from scipy.signal import firwin2, oaconvolve

RATE = 30000.0
DURATION_S = 20.0


@pytest.fixture(scope="module")
def clean():
    """Traces (n_samples, 16) in uV, their recording and the true Sorting."""
    recording, truth = si.generate_ground_truth_recording(
        durations=[DURATION_S], num_channels=16, num_units=6, seed=5, sampling_frequency=RATE,
        generate_unit_locations_kwargs=dict(margin_um=5.0, minimum_z=5.0, maximum_z=25.0, minimum_distance=25.0),
        generate_sorting_kwargs=dict(firing_rates=(4.0, 12.0), refractory_period_ms=4.0),
    )  # fmt: skip
    return recording.get_traces(), recording, truth


def sort(traces, like, folder, gain=1.0, **params):
    """Sort traces with the probe of the recording `like`, saved first as they are."""
    made = si.NumpyRecording([traces], RATE, channel_ids=like.channel_ids)
    made.set_probe(like.get_probe(), in_place=True)
    made.set_channel_gains(gain)
    made.set_channel_offsets(0.0)
    made = made.save(folder=folder / "recording", verbose=False)
    return si.run_sorter("huidurep", made, folder=folder / "sort", n_jobs=1, device="cpu", **params)


def accuracy(truth, sorting):
    comparison = si.compare_sorter_to_ground_truth(truth, sorting, exhaustive_gt=True)
    return comparison.get_performance()["accuracy"].to_numpy(dtype=float)


@pytest.fixture(scope="module")
def undisturbed(clean, tmp_path_factory):
    traces, recording, truth = clean
    sorting = sort(traces, recording, tmp_path_factory.mktemp("undisturbed"))
    assert accuracy(truth, sorting).mean() > 0.8
    return sorting


def mains_hum(traces):
    """50 Hz and its odd harmonics, larger than any spike and not the same on all channels."""
    time = np.arange(len(traces)) / RATE
    hum = sum(np.sin(2 * np.pi * 50 * order * time + order) / order for order in (1, 3, 5))
    return traces + 500 * hum[:, None] * np.linspace(0.5, 1.0, traces.shape[1])


def large_offset(traces):
    return traces + 1000.0


def converter_of_12_bits(traces):
    """Steps of 2.34 uV (4.8 mV over 12 bits, plus and minus)."""
    return np.clip(np.round(traces / 2.34), -2048, 2047).astype("int16")


def swapped_channels(traces):
    """Two pairs of wires in each other's place, two contacts and four apart."""
    order = np.arange(traces.shape[1])
    order[[2, 4, 9, 13]] = order[[4, 2, 13, 9]]
    return traces[:, order]


def gaps_of_zeros(traces):
    """A tenth of the recording is lost, in pieces of 0.1 s, from traces with an offset."""
    spoilt = traces + 300.0
    for start in range(9000, len(traces), 30000):
        spoilt[start : start + 3000] = 0.0
    return spoilt


@pytest.mark.parametrize("spoil", [mains_hum, large_offset, converter_of_12_bits, swapped_channels])
def test_units_are_found_all_the_same(spoil, clean, undisturbed, tmp_path):
    traces, recording, truth = clean
    sorting = sort(spoil(traces), recording, tmp_path)
    assert accuracy(truth, sorting).mean() > accuracy(truth, undisturbed).mean() - 0.05
    assert len(sorting.unit_ids) <= len(undisturbed.unit_ids) + 1


def test_gaps_of_zeros(clean, undisturbed, tmp_path):
    """Their ends are no spikes: what is found outside of them is what is found without them."""
    traces, recording, truth = clean
    sorting = sort(gaps_of_zeros(traces), recording, tmp_path)
    assert len(sorting.unit_ids) <= len(undisturbed.unit_ids)

    def outside(trains):
        kept = {unit: trains.get_unit_spike_train(unit) for unit in trains.unit_ids}
        return si.NumpySorting.from_unit_dict([{u: t[(t - 9000) % 30000 >= 3000] for u, t in kept.items()}], RATE)

    before = accuracy(outside(truth), outside(undisturbed))
    assert accuracy(outside(truth), sorting).mean() > before.mean() - 0.05


def blank(traces, starts, value, n_samples):
    """Blank traces (n, n_channels), in place, where pulses start: with zeros, another constant, what was, or a line."""
    own = 1000 * np.random.default_rng(3).normal(size=traces.shape[1])
    for start in starts:
        before, after = traces[start - 1].copy(), traces[start + n_samples].copy()
        share = np.arange(1, n_samples + 1)[:, None] / (n_samples + 1)
        filling = {"zeros": 0.0, "own": own, "last": before, "line": before + share * (after - before)}[value]
        traces[start : start + n_samples] = filling


def with_offsets_and_a_wave(traces):
    wave = 300 * np.sin(2 * np.pi * 50 * np.arange(len(traces)) / RATE)[:, None]
    return traces + wave + 500 + 100 * np.random.default_rng(4).normal(size=traces.shape[1])


@pytest.mark.parametrize(
    ("value", "n_samples", "dtype"),
    [("zeros", 1, "float32"), ("zeros", 24, "int16"), ("zeros", 60, "float32"), ("own", 6, "int16"),
     ("last", 12, "float32"), ("line", 12, "int16")],
)  # fmt: skip
def test_blanks_of_any_length(value, n_samples, dtype, clean, undisturbed, tmp_path):
    """Pulses are blanked ten times a second, on traces with offsets and a slow wave: no unit is made of them."""
    traces, recording, truth = clean
    blanked = with_offsets_and_a_wave(traces)
    starts = np.arange(2500, len(traces) - 200, 3000)
    blank(blanked, starts, value, n_samples)
    sorting = sort((np.rint(blanked) if dtype == "int16" else blanked).astype(dtype), recording, tmp_path)
    vector = sorting.to_spike_vector()
    near = (vector["sample_index"] - 2500 + 30) % 3000 < n_samples + 60
    # a few spikes of neurons are cut by a blank
    for index in range(len(sorting.unit_ids)):
        assert np.sum(near & (vector["unit_index"] == index)) < 0.2 * len(starts)
    assert accuracy(truth, sorting).mean() > accuracy(truth, undisturbed).mean() - 0.05


@pytest.mark.parametrize(
    ("which", "value", "n_samples", "dtype"),
    [("one", "zeros", 24, "int16"), ("one", "zeros", 1, "float32"), ("half", "zeros", 3, "uint16"),
     ("half", "own", 12, "int16"), ("half", "last", 400, "float32"), ("half", "line", 24, "int16"),
     ("staggered", "zeros", 60, "float32"), ("staggered", "own", 15, "int16"), ("all but one", "zeros", 24, "int16")],
)  # fmt: skip
def test_blanks_on_some_channels(which, value, n_samples, dtype, clean, undisturbed, tmp_path):
    """An amplifier that is blanked by itself, or channel after channel: no unit is made of that either."""
    traces, recording, truth = clean
    n_channels = traces.shape[1]
    blanked = with_offsets_and_a_wave(traces)
    starts = np.arange(2500, len(traces) - 1000, 3000)
    channels = {"one": [5], "half": range(n_channels // 2), "all but one": range(1, n_channels)}
    for channel in channels.get(which, range(n_channels)):
        later = 40 * channel if which == "staggered" else 0
        blank(blanked[:, channel : channel + 1], starts + later, value, n_samples)
    if dtype == "uint16":
        blanked = np.where(blanked == 0, 0, blanked + 2000)
    sorting = sort((blanked if dtype == "float32" else np.rint(blanked)).astype(dtype), recording, tmp_path)
    true = np.sort(truth.to_spike_vector()["sample_index"])
    # a few doubtful spikes may be left over, which are labelled as what they are
    real = sorting.unit_ids[sorting.get_property("quality") != "noise"]
    for unit in real:
        train = sorting.get_unit_spike_train(unit)
        later = true[np.clip(np.searchsorted(true, train), 0, len(true) - 1)]
        earlier = true[np.clip(np.searchsorted(true, train) - 1, 0, None)]
        assert np.mean(np.minimum(np.abs(later - train), np.abs(train - earlier)) < 15) > 0.5, f"unit {unit}"
    # where channels are away for long, neurons are seen without them, and lose what they fire there
    blank_share = n_samples * len(starts) / len(traces)
    if blank_share < 0.05:
        assert len(real) <= len(undisturbed.unit_ids)
    assert accuracy(truth, sorting).mean() > accuracy(truth, undisturbed).mean() - 0.05 - blank_share


@pytest.mark.parametrize("value", ["zeros", "last"])
def test_channels_that_die_in_the_middle(value, clean, undisturbed, tmp_path):
    """Two channels give one value from there on: their noise is that of the time before, and there is no step."""
    traces, recording, truth = clean
    broken, half = np.rint(with_offsets_and_a_wave(traces)), len(traces) // 2
    broken[half:, [3, 10]] = 0 if value == "zeros" else broken[half, [3, 10]]
    sorting = sort(broken.astype("int16"), recording, tmp_path)
    assert len(sorting.unit_ids) <= len(undisturbed.unit_ids) + 1
    assert accuracy(truth, sorting).mean() > accuracy(truth, undisturbed).mean() - 0.1


def test_stimulation_artefacts(clean, undisturbed, tmp_path):
    """Twice a second 1 ms of 5 mV, then a decay of 3 ms, on all channels: the neurons' units stay as they are.

    The artefact itself may become units, which fire at nothing else: two at most, one for each of its phases.
    """
    traces, recording, truth = clean
    spoilt = traces.copy()
    shape = np.concatenate([np.full(15, 5000.0), np.full(15, -5000.0), -800 * np.exp(-np.arange(90) / 30)])
    starts = np.arange(7000, len(traces) - 200, 15000)
    for start in starts:
        spoilt[start : start + len(shape)] += shape[:, None] * np.linspace(0.8, 1.2, traces.shape[1])
    sorting = sort(spoilt.astype("float32"), recording, tmp_path)
    assert accuracy(truth, sorting).mean() > accuracy(truth, undisturbed).mean() - 0.1
    artefacts = 0
    for unit in sorting.unit_ids:
        train = sorting.get_unit_spike_train(unit)
        after = train - starts[np.clip(np.searchsorted(starts, train, side="right") - 1, 0, None)]
        with_stimulus = np.mean((after >= 0) & (after < 300))
        assert with_stimulus < 0.1 or with_stimulus == 1.0, f"unit {unit} mixes spikes and artefacts"
        artefacts += with_stimulus == 1.0
    assert artefacts <= 2


def test_half_of_the_probe_is_disconnected(clean, undisturbed, tmp_path, caplog):
    """Channels that show a common hum and little noise of their own: no units there, the others' stay."""
    traces, recording, truth = clean
    spoilt = traces.copy()
    y = recording.get_channel_locations()[:, 1]
    loose = y > np.median(y)
    rng = np.random.default_rng(0)
    time = np.arange(len(traces)) / RATE
    spoilt[:, loose] = 300 * np.sin(2 * np.pi * 50 * time)[:, None] + rng.normal(0, 0.3, (len(traces), loose.sum()))
    with caplog.at_level("INFO", logger="spikeinterface_huidurep"):
        sorting = sort(spoilt.astype("float32"), recording, tmp_path)
    connected = set(recording.channel_ids[~loose])
    assert set(sorting.get_property("main_channel_id")) <= connected
    assert f"{loose.sum()} silent channel(s) left out" in caplog.text
    before = accuracy(truth, undisturbed)
    near = truth.get_property("gt_unit_locations")[:, 1] < y[~loose].max() - 20
    assert near.any()
    assert accuracy(truth, sorting)[near].mean() > before[near].mean() - 0.15


def white_noise(rng, n_samples, locations):
    return rng.standard_normal((n_samples, len(locations)), dtype="float32")


def tissue_noise(rng, n_samples, locations):
    """What far neurons and electrodes make: shared by channels up to some 60 um apart, strongest at low frequencies."""
    distances = np.linalg.norm(locations[:, None] - locations[None], axis=2)
    mixing = np.linalg.cholesky(np.exp(-distances / 60.0) + 1e-6 * np.eye(len(locations)))
    frequencies = np.linspace(0, RATE / 2, 257)
    # power as 1 / f from 100 Hz, and the electrodes' own white noise below it
    power = 1000.0 / np.maximum(frequencies, 100.0) + 0.2
    taps = firwin2(401, frequencies, np.sqrt(power), fs=RATE).astype("float32")
    noise = white_noise(rng, n_samples, locations) @ mixing.T.astype("float32")
    for channel in noise.T:
        channel[:] = oaconvolve(channel, taps, mode="same")
    return noise / noise.std()


def false_units(recording, duration_s, folder, make=white_noise, seed=1):
    """Units found in noise alone, a channel and hour."""
    locations = recording.get_channel_locations()
    noise = make(np.random.default_rng(seed), int(duration_s * RATE), locations)
    sorting = sort(10 * noise, recording, folder)
    return len(sorting.unit_ids) / len(locations) / (duration_s / 3600)


@pytest.mark.filterwarnings("ignore:huidurep found no units")
@pytest.mark.parametrize("make", [white_noise, tissue_noise])
def test_noise_makes_hardly_any_units(clean, tmp_path, make):
    """One unit would be far above one a channel and hour; but there are few peaks in so little noise."""
    assert false_units(clean[1], 30, tmp_path, make) <= 1.0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:huidurep found no units")
@pytest.mark.parametrize("make", [white_noise, tissue_noise])
def test_five_minutes_of_noise_make_hardly_any_units(clean, tmp_path, make):
    """Hundreds of peaks, of which some are alike by chance: in 1.3 hours of channels one may become a unit."""
    assert false_units(clean[1], 300, tmp_path, make) <= 1.0


def test_a_full_disk_is_an_error_that_says_so(clean, tmp_path, monkeypatch):
    from spikeinterface.sorters.utils import SpikeSortingError

    from spikeinterface_huidurep.stages.traces import caching

    def full(*args):
        raise OSError(28, "No space left on device")

    traces, recording, _ = clean
    monkeypatch.setattr(caching, "_write_chunk", full)
    with pytest.raises(SpikeSortingError, match="No space left"):
        sort(traces[:60000], recording, tmp_path)
    assert not list(tmp_path.rglob("huidurep_traces_*"))
    assert not (tmp_path / "sort" / "sorter_output" / "sorting").exists()


LONG = """
    import resource, sys
    from pathlib import Path
    import spikeinterface.full as si

    duration, folder = float(sys.argv[1]), Path(sys.argv[2])
    firing = dict(firing_rates=2.0, refractory_period_ms=4.0)
    spikes = si.generate_sorting(num_units=3, durations=[duration], sampling_frequency=10000.0, seed=0, **firing)
    # a Sorting on disk: only what is described by files can be sorted
    recording, _ = si.generate_ground_truth_recording(
        sorting=spikes.save(folder=folder / "truth"), durations=[duration], num_channels=4, num_units=3, seed=0,
        sampling_frequency=10000.0, noise_kwargs=dict(strategy="on_the_fly", noise_levels=5.0),
    )
    sorting = si.run_sorter("huidurep", recording, folder=folder / "sort", n_jobs=1, device="cpu")
    assert len(sorting.unit_ids) > 0
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_ten_hours_need_no_more_memory_than_one(tmp_path):
    """Traces are generated while they are read: 1.4 GB in ten hours, of which next to nothing is ever in memory."""
    peaks = {}
    for hours in (1, 10):
        command = [sys.executable, "-c", textwrap.dedent(LONG), str(3600 * hours), str(tmp_path / f"h{hours}")]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks[hours] = int(run.stdout.split()[-1]) / (1 if sys.platform == "darwin" else 1024)  # MB
    # the spikes themselves grow: nine hours of three units at 2 Hz, and what the truth and the stages know of each
    assert peaks[10] < peaks[1] + 300, peaks


TRIALS = """
    import resource, sys
    from pathlib import Path
    import spikeinterface.full as si

    n_segments, folder = int(sys.argv[1]), Path(sys.argv[2])
    recording, _ = si.generate_ground_truth_recording(
        durations=[60.0 / n_segments] * n_segments, num_channels=32, num_units=8, seed=0, sampling_frequency=30000.0,
        noise_kwargs=dict(strategy="on_the_fly", noise_levels=8.0),
    )
    saved = si.scale(recording, gain=5.0, dtype="int16").save(folder=folder / "recording", verbose=False)
    saved.set_channel_gains(0.2)
    saved.set_channel_offsets(0.0)
    sorting = si.run_sorter("huidurep", saved, folder=folder / "sort", n_jobs=1, device="cpu")
    assert len(sorting.unit_ids) > 0
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the module resource is not there")
def test_many_trials_need_no_more_memory_than_one(tmp_path):
    """The same minute in one segment and in 200."""
    peaks = {}
    for n_segments in (1, 200):
        command = [sys.executable, "-c", textwrap.dedent(TRIALS), str(n_segments), str(tmp_path / str(n_segments))]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks[n_segments] = int(run.stdout.split()[-1]) / (1 if sys.platform == "darwin" else 1024)  # MB
    assert peaks[200] < peaks[1] + 60, peaks
