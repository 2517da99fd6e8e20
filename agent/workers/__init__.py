"""Episodes on other processes and machines: what is to be done as plain settings, and Ray to do it.

Workers play, the driver stores. Nothing of Ray is imported before it is used.
"""

from .plan import RunPlan
from .ray_cluster import Cluster, WorkersMissing, play_on, workers_address

__all__ = ["Cluster", "RunPlan", "WorkersMissing", "play_on", "workers_address"]
