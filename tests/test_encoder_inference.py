"""The encoder's public calls on any probe, rate and bad input (random weights: behaviour, not accuracy)."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from spikeinterface_huidurep.encoder.inference import Encoder
from spikeinterface_huidurep.encoder.network import EncoderConfig, SpikeEncoder

RATE = 30_000.0


@pytest.fixture(scope="module")
def encoder():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SpikeEncoder(EncoderConfig())
    return Encoder(network, batch_size=64)


def spikes(n, channels, samples=80, seed=0, pitch=20.0):
    """Noise with a spike on a channel that changes from spike to spike; nbefore is 30."""
    rng = np.random.default_rng(seed)
    waveforms = rng.standard_normal((n, samples, channels)).astype(np.float32)
    locations = np.stack([np.zeros(channels), pitch * np.arange(channels)], axis=1).astype(np.float32)
    peak = rng.integers(channels, size=n)
    time = np.arange(samples)[:, None] - 30
    for i in range(n):
        far = np.abs(np.arange(channels) - peak[i])[None]
        waveforms[i] -= 12 * np.exp(-((time / 4.0) ** 2)) * np.exp(-far)
    return waveforms, locations, peak


@pytest.mark.parametrize("channels", [1, 2, 4, 20, 21, 100])
def test_shapes_and_types(encoder, channels):
    waveforms, locations, _ = spikes(70, channels)
    result = encoder.encode(waveforms, locations, RATE, 30)
    assert result.shape_vectors.shape == (70, 32) and result.shape_vectors.dtype == np.float32
    assert result.location.shape == (70, 2) and result.location.dtype == np.float32
    assert result.amplitude.shape == (70,) and (result.amplitude >= 0).all()
    assert np.isfinite(result.shape_vectors).all() and np.isfinite(result.location).all()
    clean = encoder.denoise(waveforms, locations, RATE, 30)
    assert clean.shape == waveforms.shape and clean.dtype == np.float32 and np.isfinite(clean).all()
    np.testing.assert_array_equal(result.shape_vectors, encoder.embed(waveforms, locations, RATE, 30, place=False))
    vectors = encoder.embed(waveforms, locations, RATE, 30)
    assert vectors.shape == (70, 32) and vectors.dtype == np.float32 and np.isfinite(vectors).all()


def test_the_former_name_of_the_shape_vectors_still_works(encoder):
    waveforms, locations, _ = spikes(3, 4)
    result = encoder.encode(waveforms, locations, RATE, 30)
    with pytest.warns(FutureWarning, match="named shape_vectors"):
        assert result.embedding is result.shape_vectors


def test_a_thousand_channels(encoder):
    waveforms, locations, peak = spikes(20, 1000)
    result = encoder.encode(waveforms, locations, RATE, 30)
    assert np.abs(result.location[:, 1] - 20.0 * peak).max() < 200


def test_moving_the_probe_moves_only_the_location(encoder):
    waveforms, locations, _ = spikes(40, 16)
    here = encoder.encode(waveforms, locations, RATE, 30)
    there = encoder.encode(waveforms, locations + np.float32([1000, -512]), RATE, 30)
    np.testing.assert_allclose(here.shape_vectors, there.shape_vectors, atol=2e-3)
    np.testing.assert_allclose(here.location + [1000, -512], there.location, atol=1e-2)
    moved = encoder.embed(waveforms, locations + np.float32([1000, -512]), RATE, 30)
    np.testing.assert_allclose(moved, encoder.embed(waveforms, locations, RATE, 30), atol=2e-3)


def test_vectors_say_shape_and_place(encoder):
    """Two spikes of one shape 200 um apart differ in the place alone, by that distance."""
    waveforms, locations, peak = spikes(1, 32)
    apart = np.concatenate([np.roll(waveforms, place - peak[0], axis=2) for place in (10, 20)])
    near = np.abs(np.arange(32) - np.array([[10], [20]])) <= 6
    apart[~near[:, None].repeat(80, axis=1)] = np.nan  # the same channels exist around both
    here, there = encoder.embed(apart, locations, RATE, 30)
    np.testing.assert_allclose(here[:30], there[:30], atol=1e-3)
    np.testing.assert_allclose(there[30:] - here[30:], [0, 200.0 / 20.0], atol=1e-3)
    shape_here, shape_there = encoder.embed(apart, locations, RATE, 30, place=False)
    np.testing.assert_allclose(shape_here, shape_there, atol=1e-3)
    np.testing.assert_array_equal(shape_here[:30], here[:30])


@pytest.mark.parametrize("channels", [4, 5, 20])
def test_what_gives_way_to_the_place(encoder, channels):
    """What a probe's end moves, where the weights say that; of a tetrode, which is all end, the last two numbers."""
    waveforms, locations, _ = spikes(30, channels)
    shape = encoder.embed(waveforms, locations, RATE, 30, place=False)
    plain = encoder.embed(waveforms, locations, RATE, 30)
    np.testing.assert_array_equal(plain[:, :30], shape[:, :30])
    axes = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(0))).Q[:, :30]
    vectors = replace(encoder, beside_place=axes).embed(waveforms, locations, RATE, 30)
    np.testing.assert_array_equal(vectors[:, 30:], plain[:, 30:])
    expected = plain[:, :30] if channels == 4 else shape @ axes.numpy()
    np.testing.assert_allclose(vectors[:, :30], expected, atol=1e-4)
    broken = np.concatenate([waveforms, np.full((30, 80, 3), np.nan, dtype=np.float32)], axis=2)
    more = np.concatenate([locations, locations[:1] + np.arange(1000, 1003)[:, None]]).astype(np.float32)
    result = encoder.encode(broken, more, RATE, 30)
    np.testing.assert_array_equal(result.channels, np.full(30, channels))  # those that do not exist do not count


def test_places_are_measured_from_one_origin(encoder):
    """The middle of the channels whichever way their locations are given, or the origin that was given."""
    waveforms, locations, peak = spikes(50, 40)
    whole = encoder.embed(waveforms, locations, RATE, 30)
    per_spike = np.broadcast_to(locations, (50, 40, 2))
    np.testing.assert_allclose(encoder.embed(waveforms, per_spike, RATE, 30), whole, atol=1e-3)
    near = np.argsort(np.abs(np.arange(40) - peak[:, None]), axis=1, kind="stable")[:, :14]
    windows, places = np.take_along_axis(waveforms, near[:, None], axis=2), locations[near]
    together = encoder.embed(windows, places, RATE, 30, origin=(0.0, 390.0))
    parts = [encoder.embed(windows[i : i + 5], places[i : i + 5], RATE, 30, origin=(0, 390)) for i in range(0, 50, 5)]
    np.testing.assert_allclose(np.concatenate(parts), together, atol=1e-3)
    np.testing.assert_allclose(together, encoder.embed(windows, places, RATE, 30), atol=1e-3)


@pytest.mark.parametrize("origin", [3.0, (1.0, 2.0, 3.0), (np.nan, 0.0)])
def test_an_origin_is_a_point(encoder, origin):
    waveforms, locations, _ = spikes(3, 4)
    with pytest.raises(ValueError, match="origin must be two finite numbers"):
        encoder.embed(waveforms, locations, RATE, 30, origin=origin)


def test_more_channels_than_the_network_looks_at(encoder):
    """It looks at those nearest to the spike, and at no others."""
    waveforms, locations, peak = spikes(60, 40)
    near = np.abs(np.arange(40) - peak[:, None]) <= 20
    silent = np.where(near[:, None], waveforms, np.float32(0))
    result, expected = (encoder.embed(spike, locations, RATE, 30) for spike in (silent, waveforms))
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_few_channels_are_read_alike_however_many_could_be():
    """Weights that were trained on fewer channels at once go on being what they were."""
    waveforms, locations, _ = spikes(60, 12)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        many, few = SpikeEncoder(EncoderConfig()), SpikeEncoder(EncoderConfig(channels=12))
        torch.nn.init.normal_(many.gather.out.weight)  # starts at zero
        torch.nn.init.normal_(many.enter.out.weight)
    few.load_state_dict(many.state_dict())
    result, expected = (Encoder(network).embed(waveforms, locations, RATE, 30) for network in (many, few))
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_order_of_channels_and_batch_do_not_matter(encoder):
    waveforms, locations, _ = spikes(100, 30)
    result = encoder.embed(waveforms, locations, RATE, 30)
    order = np.random.default_rng(1).permutation(30)
    np.testing.assert_allclose(result, encoder.embed(waveforms[:, :, order], locations[order], RATE, 30), atol=1e-4)
    one_by_one = np.concatenate([encoder.embed(waveforms[i : i + 1], locations, RATE, 30) for i in range(100)])
    np.testing.assert_allclose(result, one_by_one, atol=1e-4)


def test_absent_channels_do_not_matter(encoder):
    """A channel of NaN is the same as no channel, and locations may differ from spike to spike."""
    waveforms, locations, _ = spikes(30, 10)
    padded = np.concatenate([waveforms, np.full((30, 80, 3), np.nan, np.float32)], axis=2)
    places = np.concatenate([locations, np.full((3, 2), np.nan)]).astype(np.float32)
    per_spike = np.broadcast_to(places, (30, 13, 2))
    expected = encoder.encode(waveforms, locations, RATE, 30)
    result = encoder.encode(padded, per_spike, RATE, 30)
    np.testing.assert_allclose(result.shape_vectors, expected.shape_vectors, atol=1e-4)
    np.testing.assert_allclose(result.location, expected.location, atol=1e-2)
    clean = encoder.denoise(padded, per_spike, RATE, 30)
    assert np.isnan(clean[:, :, 10:]).all() and np.isfinite(clean[:, :, :10]).all()


def test_spike_without_any_channel(encoder):
    waveforms, locations, _ = spikes(5, 4)
    waveforms[2] = np.nan
    result = encoder.encode(waveforms, locations, RATE, 30)
    assert (result.shape_vectors[2] == 0).all() and np.isnan(result.location[2]).all() and result.amplitude[2] == 0
    assert np.isfinite(result.shape_vectors).all() and np.isfinite(np.delete(result.location, 2, axis=0)).all()
    vectors = encoder.embed(waveforms, locations, RATE, 30)
    assert np.isfinite(vectors).all() and (vectors[2] == 0).all()


def test_no_spikes(encoder):
    result = encoder.encode(np.zeros((0, 80, 4), np.float32), np.zeros((4, 2)), RATE, 30)
    assert result.shape_vectors.shape == (0, 32) and result.location.shape == (0, 2) and result.amplitude.shape == (0,)
    assert encoder.embed(np.zeros((0, 80, 4), np.float32), np.zeros((4, 2)), RATE, 30).shape == (0, 32)
    assert encoder.denoise(np.zeros((0, 80, 4), np.float32), np.zeros((4, 2)), RATE, 30).shape == (0, 80, 4)


@pytest.mark.parametrize("rate", [10_000.0, 24_414.0625, 32_000.0, 50_000.0])
def test_other_rates_see_the_same_spike(encoder, rate):
    """A smooth spike without noise, sampled at two rates, gives nearly the same vector."""

    def sample(fs):
        before, after = encoder.required_samples(fs)
        before, after = before + 3, after + 3
        time = (np.arange(before + after) - before) / fs * 1e3
        shape = -10 * np.exp(-((time / 0.2) ** 2)) + 4 * np.exp(-(((time - 0.6) / 0.35) ** 2))
        return (shape[None, :, None] * np.array([0.4, 1, 0.6, 0.2])).astype(np.float32), before

    locations = np.array([[0, 0], [0, 20], [0, 40], [0, 60]], dtype=float)
    here, nbefore_here = sample(RATE)
    there, nbefore_there = sample(rate)
    a = encoder.embed(here, locations, RATE, nbefore_here)
    b = encoder.embed(there, locations, rate, nbefore_there)
    assert np.linalg.norm(a - b) < 0.02 * np.linalg.norm(a)


def test_window_too_short(encoder):
    before, after = encoder.required_samples(RATE)
    locations = np.zeros((4, 2))
    encoder.embed(np.zeros((1, before + after, 4), np.float32), locations, RATE, before)
    with pytest.raises(ValueError, match="do not cover"):
        encoder.embed(np.zeros((1, before + after, 4), np.float32), locations, RATE, before - 3)
    with pytest.raises(ValueError, match="do not cover"):
        encoder.embed(np.zeros((1, before + after - 3, 4), np.float32), locations, RATE, before)


@pytest.mark.parametrize(
    ("waveforms", "locations", "rate", "nbefore", "message"),
    [
        (np.zeros((2, 80)), np.zeros((4, 2)), RATE, 30, "spikes, samples, channels"),
        (np.zeros((2, 80, 4)), np.zeros((3, 2)), RATE, 30, "channel_locations must be"),
        (np.zeros((2, 80, 4)), np.zeros((3, 4, 2)), RATE, 30, "channel_locations must be"),
        (np.zeros((2, 80, 0)), np.zeros((0, 2)), RATE, 30, "no channels"),
        (np.zeros((2, 80, 4), complex), np.zeros((4, 2)), RATE, 30, "real numbers"),
        (np.full((2, 80, 4), "a"), np.zeros((4, 2)), RATE, 30, "real numbers"),
        (np.zeros((2, 80, 4)), np.full((4, 2), np.nan), RATE, 30, "not finite"),
        (np.zeros((2, 80, 4)), np.zeros((4, 2)), 0.0, 30, "positive number"),
        (np.zeros((2, 80, 4)), np.zeros((4, 2)), np.nan, 30, "positive number"),
        (np.zeros((2, 80, 4)), np.zeros((4, 2)), RATE, 90, "nbefore 90"),
    ],
)
def test_bad_input_says_what_is_wrong(encoder, waveforms, locations, rate, nbefore, message):
    with pytest.raises(ValueError, match=message):
        encoder.embed(waveforms, locations, rate, nbefore)


def test_integer_and_double_waveforms(encoder):
    waveforms, locations, _ = spikes(8, 4)
    whole = np.round(waveforms * 10).astype(np.int16)
    np.testing.assert_array_equal(
        encoder.embed(whole, locations, RATE, 30), encoder.embed(whole.astype(np.float64), locations, RATE, 30)
    )


def test_importing_the_package_leaves_torch_alone():
    code = "import sys, spikeinterface_huidurep.encoder as e; assert 'torch' not in sys.modules; e.load_encoder"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_threads_change_nothing(encoder):
    """Not a digit, and torch has as many threads afterwards as before."""
    waveforms, locations, _ = spikes(300, 16)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            results.append(encoder.embed(waveforms, locations, RATE, 30))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*results)


def test_too_little_memory_makes_smaller_batches(encoder, monkeypatch):
    waveforms, locations, _ = spikes(64, 8)
    whole = encoder.encode(waveforms, locations, RATE, 30)
    small = Encoder(encoder.network, batch_size=64)
    forward, sizes = small.network.forward, []

    def forward_in_little_memory(windows, *rest):
        sizes.append(len(windows))
        if len(windows) > 20:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return forward(windows, *rest)

    monkeypatch.setattr(small.network, "forward", forward_in_little_memory)
    parts = small.encode(waveforms, locations, RATE, 30)
    np.testing.assert_allclose(parts.shape_vectors, whole.shape_vectors, atol=1e-4)
    assert sizes[:3] == [64, 32, 16] and max(sizes[2:]) == 16

    monkeypatch.setattr(small.network, "forward", lambda *_: (_ for _ in ()).throw(torch.cuda.OutOfMemoryError("no")))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        small.encode(waveforms, locations, RATE, 30)
