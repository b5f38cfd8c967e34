"""Where the encoder looks first, against spikes whose place and time are known."""

import numpy as np
import pytest
import torch

from spikeinterface_huidurep import load_encoder
from spikeinterface_huidurep.encoder.first_look import likeliest_trough, search_reach, shifted, trough_filter

RATE, NBEFORE, SAMPLES = 30_000.0, 22, 64
LOCATIONS = np.stack([np.tile([0.0, 32.0], 16), np.repeat(np.arange(16) * 20.0, 2)], axis=1)


def spikes(n, snr, centre, generator, delay=0, width_um=25.0):
    """n noisy spikes (n, samples, channels) about ``centre``, the trough ``delay`` samples after ``NBEFORE``."""
    time = (np.arange(SAMPLES) - NBEFORE - delay) / RATE * 1e3
    shape = -np.exp(-0.5 * (time / 0.12) ** 2) + 0.35 * np.exp(-0.5 * ((time - 0.4) / 0.2) ** 2)
    footprint = np.exp(-0.5 * (((LOCATIONS - centre) / width_um) ** 2).sum(axis=1))
    clean = snr * shape[:, None] * footprint / footprint.max()
    return (clean + generator.standard_normal((n, SAMPLES, len(LOCATIONS)))).astype(np.float32)


def look(waveforms, present=None):
    filtered = torch.from_numpy(waveforms).transpose(1, 2) @ trough_filter(SAMPLES, NBEFORE, RATE)
    locations = torch.from_numpy(LOCATIONS.astype(np.float32)).expand(len(waveforms), -1, -1)
    channel, delay = likeliest_trough(filtered, locations, present)
    return channel.numpy(), delay.numpy()


@pytest.mark.parametrize("delay", [-3, 0, 4])
def test_a_large_spike_is_seen_on_its_largest_channel_and_when_it_is(delay):
    centre = LOCATIONS[14] + 1.0
    channel, late = look(spikes(50, 30.0, centre, np.random.default_rng(0), delay))
    assert (channel == 14).mean() > 0.9 and np.abs(late - delay).max() <= 1


def test_a_small_spike_is_missed_less_often_than_by_the_deepest_sample():
    centre = LOCATIONS[14] + [3.0, 4.0]
    waveforms = spikes(2000, 2.5, centre, np.random.default_rng(1), width_um=16.0)
    reach = search_reach(RATE)
    deepest = waveforms[:, NBEFORE - reach : NBEFORE + reach + 1].min(axis=1).argmin(axis=1)
    both = look(waveforms)[0], deepest
    far = [(np.linalg.norm(LOCATIONS[channel] - centre, axis=1) > 40).mean() for channel in both]
    assert far[1] > 0.1 and far[0] < 0.3 * far[1]


def test_missing_channels_are_never_looked_from():
    waveforms = spikes(200, 8.0, LOCATIONS[14], np.random.default_rng(2))
    present = torch.ones(200, 32, dtype=torch.bool)
    present[:, 12:17] = False
    waveforms[:, :, 12:17] = -100.0  # whatever a dead channel holds
    channel, _ = look(waveforms, present)
    assert not np.isin(channel, np.arange(12, 17)).any()
    assert np.linalg.norm(LOCATIONS[channel] - LOCATIONS[14], axis=1).max() < 60


def test_shifting_there_and_back_loses_the_edges_only():
    waveforms = torch.randn(3, 2, 10, generator=torch.Generator().manual_seed(0))
    delay = torch.tensor([2, 0, -3])
    later = shifted(waveforms, delay)
    torch.testing.assert_close(later[0, :, :8], waveforms[0, :, 2:])
    assert (later[0, :, 8:] == 0).all() and (later[2, :, :3] == 0).all()
    torch.testing.assert_close(later[1], waveforms[1])
    back = shifted(later, -delay)
    torch.testing.assert_close(back[0, :, 2:], waveforms[0, :, 2:])
    torch.testing.assert_close(back[2, :, :7], waveforms[2, :, :7])


def test_a_late_detection_changes_vectors_less_than_another_neuron_does():
    """The window is aligned in time: three samples of detection error are no other unit."""
    generator = np.random.default_rng(3)
    encoder = load_encoder("default", "cpu")

    def embed(centre, delay, width_um):
        return encoder.embed(spikes(200, 12.0, centre, generator, delay, width_um), LOCATIONS, RATE, NBEFORE)

    unit, late = embed(LOCATIONS[14] + 5, 0, 25.0), embed(LOCATIONS[14] + 5, 3, 25.0)
    other = embed(LOCATIONS[14] + 5, 0, 32.0)
    apart = np.linalg.norm(unit.mean(axis=0) - other.mean(axis=0))
    assert np.linalg.norm(unit.mean(axis=0) - late.mean(axis=0)) < 0.3 * apart


def test_denoised_spikes_stay_where_they_are_in_time():
    """Aligned windows are put back: the denoised trough lies where the recorded one does."""
    encoder = load_encoder("default", "cpu")
    for delay in (-4, 0, 4):
        waveforms = spikes(100, 20.0, LOCATIONS[14] + 3, np.random.default_rng(4), delay)
        clean = encoder.denoise(waveforms, LOCATIONS, RATE, NBEFORE)
        trough = clean[:, :, 14].argmin(axis=1)
        assert np.abs(np.median(trough) - (NBEFORE + delay)) <= 1
