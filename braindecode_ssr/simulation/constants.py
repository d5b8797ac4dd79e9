"""The constants of a simulated experiment: structure of runs, timing, responses, noise."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """The structure of the runs of one split in one session.

    Parameters
    ----------
    runs, blocks, sequences : int
        Recorded runs per session, blocks per run, sequences per block.
    targets : int
        Target sequences per block; each holds one target.
    """

    runs: int
    blocks: int
    sequences: int
    targets: int

    def slots(self, length: int) -> int:
        """Image showings per session, targets left out, at ``length`` images per sequence."""
        return self.runs * self.blocks * (self.sequences * length - self.targets)


@dataclass(frozen=True)
class Timing:
    """The timing of image onsets, in seconds.

    The defaults are read off the 240 event lists of THINGS-EEG2.

    Parameters
    ----------
    soa, soa_sd : float
        Onset asynchrony within a sequence and its spread without slips.
    slip, slip_length : float
        Probability of a slipped frame sequence, and the longest slip.
    gap_floor, gap_mean, gap_shape, gap_ceiling : float
        Last onset of a sequence to the first of the next: floor plus a gamma variable of that shape.
    lead, rest, tail : float
        Before the first onset of a run, between blocks (mean), after the last onset of a run.
    """

    soa: float = 0.19992
    soa_sd: float = 0.00042
    slip: float = 1.0e-4
    slip_length: float = 0.167
    gap_floor: float = 1.532
    gap_mean: float = 2.283
    gap_shape: float = 3.0
    gap_ceiling: float = 3.7
    lead: float = 15.0
    rest: float = 20.0
    tail: float = 5.0


@dataclass(frozen=True)
class Response:
    """What the brain makes of what the eye gets; amplitudes in volts, times in seconds.

    Parameters
    ----------
    early_dims, late_dims : int
        Feature dimensions of the early (visual) and the late component.
    spectrum : float
        Standard deviation of the k-th dimension of a component is ``k ** -spectrum``.
    early_gain, late_gain : float
        Peak response to one standard deviation of the first dimension.
    early_peak, late_peak : tuple of float
        Range of peak latencies.
    early_width, late_width : tuple of float
        Range of the standard deviations of the Gaussian kernels.
    common_gain : float
        Peak of the response that all images share.
    target_gain : float
        Peak of the additional response to targets.
    duration : float
        Length of a response.
    individuality : float
        Share of the variance of each topography that is a subject's own.
    gain_sd : float
        Standard deviation over subjects of the logarithm of the gain.
    latency_sd : float
        Standard deviation over subjects of the latency shift.
    """

    early_dims: int = 32
    late_dims: int = 16
    spectrum: float = 0.3
    early_gain: float = 0.6e-6
    late_gain: float = 0.48e-6
    early_peak: tuple[float, float] = (0.09, 0.13)
    late_peak: tuple[float, float] = (0.18, 0.40)
    early_width: tuple[float, float] = (0.012, 0.025)
    late_width: tuple[float, float] = (0.03, 0.06)
    common_gain: float = 4e-6
    target_gain: float = 6e-6
    duration: float = 0.8
    individuality: float = 0.68
    gain_sd: float = 0.2
    latency_sd: float = 0.008


@dataclass(frozen=True)
class Noise:
    """What is recorded besides the responses; amplitudes in volts rms where nothing else is said.

    Parameters
    ----------
    background : float
        1/f activity, mean over channels.
    slope : float
        Its power falls as ``f ** -slope``.
    smoothness : float
        Length constant of the correlation over the scalp, in head radii.
    alpha, alpha_gap : float
        Alpha rhythm within sequences, and the factor by which it grows in gaps.
    sensor : float
        White noise of each channel.
    blink : float
        Peak of a blink at the frontal pole.
    blink_gap, blink_rate : float
        Probability of a blink in a gap; blinks per second elsewhere.
    line, line_frequency : float
        Amplitude (peak) and frequency in Hz of the mains.
    drift : float
        Slow drift.
    session_sd : float
        Standard deviation over channels and sessions of the logarithm of the gain of a channel's noise.
    """

    background: float = 9e-6
    slope: float = 1.2
    smoothness: float = 0.6
    alpha: float = 2.5e-6
    alpha_gap: float = 2.0
    sensor: float = 0.7e-6
    blink: float = 90e-6
    blink_gap: float = 0.7
    blink_rate: float = 0.01
    line: float = 1.5e-6
    line_frequency: float = 50.0
    drift: float = 10e-6
    session_sd: float = 0.2
