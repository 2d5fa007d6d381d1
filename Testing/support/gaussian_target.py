"""A Gaussian target, for which the ideal noise predictor is known and every sampler is an affine map of its noise."""

import torch

from RelAPETLib.diffusion import NoiseSchedule, sample


def ideal_noise_predictor(schedule: NoiseSchedule, mean: float, sd: float):
    """E[noise | x_t] when the clean image is N(mean, sd^2) in every voxel."""

    def predict(x_t, timesteps):
        alpha, sigma = schedule.rates(int(timesteps[0]))
        return sigma * (x_t - alpha * mean) / (alpha**2 * sd**2 + sigma**2)

    return predict


def sampled_mean_and_sd(schedule: NoiseSchedule, mean: float, sd: float, sampler: str, steps: int, spacing: str):
    """Exact mean and SD of what a sampler makes of standard normal noise, by its response to single impulses.

    Batch item 0 gets no noise at all, item i + 1 a 1 in the i-th noise and 0 in all others. The sampler is affine, so
    item 0 ends at the mean and the squares of the others' distances to it sum to the variance.
    """

    def impulses(index, shape):
        noise = torch.zeros(shape, dtype=torch.float64)
        noise[index + 1] = 1
        return noise

    predict = ideal_noise_predictor(schedule, mean, sd)
    ends = sample(predict, (steps + 1, 1), schedule, sampler=sampler, steps=steps, spacing=spacing, noise=impulses)
    return float(ends[0]), float((ends[1:] - ends[0]).square().sum().sqrt())
