"""The dashboards, one a module."""

from boards import cache, loadtest, overview, pipeline, queue, workers

ALL = [module.DASHBOARD for module in (overview, pipeline, queue, workers, cache, loadtest)]
