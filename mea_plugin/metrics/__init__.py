"""How close two images, or two sets of images, are: each metric under a stated protocol."""

from mea_plugin.metrics.catalogue import DEFAULT, find_metrics, metric_names
from mea_plugin.metrics.metric import Metric
from mea_plugin.metrics.planes import Planes, to_y
from mea_plugin.metrics.psnr_ssim import psnr, ssim
from mea_plugin.metrics.weights import WeightSource

__all__ = ['DEFAULT', 'Metric', 'Planes', 'WeightSource', 'find_metrics', 'metric_names', 'psnr', 'ssim', 'to_y']
