"""The places of a run: what a trial reserves of a node, asked for before there is a trial to take it."""

from __future__ import annotations

from collections.abc import Mapping

from ray.air.execution.resources import PlacementGroupResourceManager, ResourceRequest
from ray.air.execution.resources.placement_group import PlacementGroupAcquiredResources
from ray.tune import PlacementGroupFactory


def place_for(resources: Mapping[str, float]) -> PlacementGroupFactory:
    """What one trial reserves, from `RayConfig.resources`."""
    return PlacementGroupFactory([{name.upper(): amount for name, amount in resources.items()}])


class Places(PlacementGroupResourceManager):
    """Ray Tune's own resource manager, with reservations that are made ahead of the trials.

    Tune reserves resources for trials that it has: each would be sampled long before it can run, and an autoscaler sees
    no demand where there is no trial yet. Here places are asked for first, and Tune's requests take them. A reservation
    that waits is what an autoscaler grows by; one that is there follows the nodes, and others may use the cluster too.
    """

    def __init__(self, update_interval_s: float = 0.1) -> None:  # `clear` calls it, too
        super().__init__(update_interval_s)
        self._claims = 0  # Tune's requests that have no place yet

    def ask(self, place: ResourceRequest, total: int) -> None:
        """Have `total` places, reserved or asked for, those of running trials included; what is not needed is freed."""
        free = len(self._request_to_staged_pgs[place]) + len(self._request_to_ready_pgs[place])
        missing = total - free - len(self._acquired_pgs)
        for _ in range(missing):
            super().request_resources(place)
        for _ in range(min(-missing, free - self._claims)):
            super().cancel_resource_request(place)

    def reserved(self, place: ResourceRequest) -> int:
        """How many there are now, those of running trials and of idle workers included."""
        self._maybe_update_state()  # type: ignore[no-untyped-call]
        return len(self._request_to_ready_pgs[place]) + len(self._acquired_pgs)

    def request_resources(self, resource_request: ResourceRequest) -> None:
        self._claims += 1
        ahead = len(self._request_to_staged_pgs[resource_request]) + len(self._request_to_ready_pgs[resource_request])
        if ahead < self._claims:
            super().request_resources(resource_request)

    def cancel_resource_request(self, resource_request: ResourceRequest) -> None:
        self._claims -= 1  # `ask` frees it where nobody else needs it

    def acquire_resources(self, resource_request: ResourceRequest) -> PlacementGroupAcquiredResources | None:
        acquired = super().acquire_resources(resource_request)
        self._claims -= acquired is not None
        return acquired
