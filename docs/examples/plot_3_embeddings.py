"""
The embeddings in your own analysis
===================================

The encoder is of use without the sorter: it turns any spike snippets into vectors in which the spikes of one neuron lie
together. Here the snippets of four neurons beside a tetrode are encoded, and the vectors compared with principal
components.
"""

# %%
# Snippets
# --------
# The encoder wants band-passed waveforms in units of noise, (spikes, samples, channels), and the places of the
# channels. They are cut from a recording of which the spikes are known, a tetrode with four neurons; yours may come
# from any sorter, or from a detector.
import matplotlib.pyplot as plt
import numpy as np
import spikeinterface.core as si
import spikeinterface.preprocessing as spre
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

from spikeinterface_huidurep import load_encoder

si.set_global_job_kwargs(n_jobs=1, progress_bar=False)
recording, truth = si.generate_ground_truth_recording(
    durations=[20.0], num_channels=4, num_units=4, noise_kwargs={"noise_levels": 15.0, "strategy": "on_the_fly"}, seed=1
)
filtered = spre.bandpass_filter(recording, 300.0, 6000.0)
traces = spre.zscore(filtered, mode="median+mad", seed=0).get_traces()

encoder = load_encoder("default", device="cpu")
nbefore, nafter = encoder.required_samples(recording.sampling_frequency)
spikes = truth.to_spike_vector()
inside = (spikes["sample_index"] >= nbefore) & (spikes["sample_index"] < len(traces) - nafter)
spikes = spikes[inside]
waveforms = np.stack([traces[sample - nbefore : sample + nafter] for sample in spikes["sample_index"]])
print(waveforms.shape)

# %%
# Encode
# ------
# Nobody tells the encoder which spike is whose. Beside the vector it gives each spike's location on the probe (um) and
# the depth of its denoised trough (units of noise).
encoded = encoder.encode(waveforms, recording.get_channel_locations(), recording.sampling_frequency, nbefore)
print(encoded.shape_vectors.shape, encoded.location.shape, encoded.amplitude.shape)

# %%
# Compare
# -------
# The silhouette says how well the true units lie apart, from -1 to 1 (for the same number of dimensions).
maps = {
    "embedding": PCA(10, random_state=0).fit_transform(encoded.shape_vectors),
    "waveforms": PCA(10, random_state=0).fit_transform(waveforms.reshape(len(waveforms), -1)),
}
figure, panels = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for axes, (name, features) in zip(panels, maps.items(), strict=True):
    score = silhouette_score(features, spikes["unit_index"])
    axes.scatter(*features[:, :2].T, c=spikes["unit_index"], cmap="tab10", s=8)
    axes.set(title=f"{name}: silhouette {score:.2f}", xlabel="PC 1", ylabel="PC 2")
plt.show()

# %%
# Denoise
# -------
# The other half of the network gives the spike's waveform without noise and without other neurons' spikes.
clean = encoder.denoise(waveforms, recording.get_channel_locations(), recording.sampling_frequency, nbefore)
channel = int(np.argmin(waveforms[0].min(axis=0)))
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
time = (np.arange(waveforms.shape[1]) - nbefore) / recording.sampling_frequency * 1e3
axes.plot(time, waveforms[0, :, channel], color="0.7", label="as recorded")
axes.plot(time, clean[0, :, channel], color="C3", label="denoised")
axes.set(xlabel="time from the trough (ms)", ylabel="units of noise")
axes.legend()
plt.show()

# %%
# In a SortingAnalyzer
# --------------------
# The vectors are an extension of any SortingAnalyzer as well, whatever sorter its units come from.
import spikeinterface_huidurep  # noqa: F401  (makes the extension known)

analyzer = si.create_sorting_analyzer(truth, recording, sparse=False)
analyzer.compute({"random_spikes": {"max_spikes_per_unit": 50, "seed": 0}, "huidurep_embeddings": {"device": "cpu"}})
extension = analyzer.get_extension("huidurep_embeddings")
print(extension.get_data().shape, extension.get_data(outputs="location").shape)
