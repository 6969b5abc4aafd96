"""Stand-in for a network load balancer's health checks, because moto reports every target as healthy.

It checks each target of a target group that a load balancer uses, as the group says: by TCP, HTTP or HTTPS, at the instance's
private address, from the emulator's host. States are those of AWS's documentation ("Health checks for Network Load Balancer
target groups"). There are no probes from several zones, and no probe is lost on the way.
"""

import http.client
import socket
import ssl
import time
from concurrent.futures import Future, ThreadPoolExecutor

from moto.elbv2 import models

#: The states of a target that gets calls, and of one that drains.
HEALTHY, DRAINING = "healthy", "draining"
#: Why a target is not healthy, in AWS's words.
REASONS = {
    "initial": "Elb.RegistrationInProgress",
    "unhealthy": "Target.FailedHealthChecks",
    "unused": "Target.NotInUse",
}


class Target:
    """The result of one target's checks."""

    def __init__(self) -> None:
        self.state = "initial"
        #: The number of answers in a row that contradict the state.
        self.contrary = 0
        self.next = 0.0
        self.running: Future | None = None

    def tell(self, passed: bool, group: models.FakeTargetGroup) -> None:
        """Adds an answer."""
        if passed == (self.state == HEALTHY):
            self.contrary = 0
            return
        self.contrary += 1
        if self.contrary >= int(group.healthy_threshold_count if passed else group.unhealthy_threshold_count):
            self.state, self.contrary = (HEALTHY if passed else "unhealthy"), 0


class Checks:
    """The checks of all target groups of a region."""

    def __init__(self, balancing: models.ELBv2Backend) -> None:
        self._balancing = balancing
        self._pool = ThreadPoolExecutor(max_workers=32)
        self._targets: dict[tuple[str, str], Target] = {}

    def tick(self) -> None:
        """Starts the checks that are due, and collects those that have ended. The caller holds the emulator's lock."""
        now = time.monotonic()
        seen = set()
        for group in self._balancing.target_groups.values():
            if not self._balancing._any_listener_using(group.arn):
                continue
            for id, target in group.targets.items():
                key = (group.arn, id)
                seen.add(key)
                known = self._targets.setdefault(key, Target())
                if known.running and known.running.done():
                    known.tell(known.running.result(), group)
                    known.running = None
                if known.running is None and now >= known.next:
                    known.next = now + int(group.health_check_interval_seconds)
                    known.running = self._begin(group, target)
        for key in self._targets.keys() - seen:
            del self._targets[key]

    def state(self, group: models.FakeTargetGroup, id: str) -> str:
        """A registered target's state."""
        known = self._targets.get((group.arn, id))
        return known.state if known else "unused"

    def _begin(self, group: models.FakeTargetGroup, target: dict) -> Future:
        instance = group.ec2_backend.get_instance(target["Id"])
        port = int(target["Port"] if group.health_check_port == "traffic-port" else group.health_check_port)
        timeout = float(group.health_check_timeout_seconds)
        codes = getattr(group, "matcher", {}).get("HttpCode", "200-399")
        path = group.health_check_path or "/"
        protocol, address = group.health_check_protocol, instance.private_ip
        return self._pool.submit(_check, protocol, address, port, path, codes, timeout)


def _check(protocol: str, address: str, port: int, path: str, codes: str, timeout: float) -> bool:
    try:
        if protocol == "TCP":
            socket.create_connection((address, port), timeout).close()
            return True
        if protocol == "HTTPS":
            # AWS does not verify certificates either.
            context = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection(address, port, timeout=timeout, context=context)
        else:
            connection = http.client.HTTPConnection(address, port, timeout=timeout)
        try:
            connection.request("GET", path, headers={"User-Agent": "ELB-HealthChecker/2.0"})
            return _matches(codes, connection.getresponse().status)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return False


def _matches(codes: str, status: int) -> bool:
    for each in codes.split(","):
        first, _, last = each.partition("-")
        if int(first) <= status <= int(last or first):
            return True
    return False


def stand_in(checks: Checks) -> None:
    """Makes moto answer with the results of the checks."""
    group_class = models.FakeTargetGroup
    deregister, terminated = group_class.deregister, group_class.deregister_terminated_instances
    original_health = group_class.health_for

    def gone(group: models.FakeTargetGroup, before: dict) -> None:
        left = group.__dict__.setdefault("left_at", {})
        for id in before.keys() - group.targets.keys():
            left[id] = (time.monotonic(), before[id])

    def deregister_and_drain(self, targets):
        before = dict(self.targets)
        deregister(self, targets)
        gone(self, before)

    def terminated_and_drain(self, instance_ids):
        before = dict(self.targets)
        terminated(self, instance_ids)
        gone(self, before)

    def draining(group: models.FakeTargetGroup) -> dict:
        delay = float(group.attributes["deregistration_delay.timeout_seconds"])
        left = group.__dict__.get("left_at", {})
        now = time.monotonic()
        return {id: target for id, (at, target) in left.items() if id not in group.targets and now < at + delay}

    def health_for(self, target, ec2_backend):
        id = target["Id"]

        def status(state, reason):
            return models.FakeHealthStatus(id, target.get("Port", self.port), self.health_check_port, state, reason)

        if id in draining(self):
            return status(DRAINING, "Target.DeregistrationInProgress")
        health = original_health(self, target, ec2_backend)
        if id not in self.targets or health.status != HEALTHY:
            return health
        state = checks.state(self, id)
        return status(state, REASONS.get(state))

    describe = models.ELBv2Backend.describe_target_health

    def describe_target_health(self, target_group_arn, targets):
        group = self.target_groups.get(target_group_arn)
        if group and not targets:
            targets = [*group.targets.values(), *draining(group).values()]
            if not targets:
                return []
        return describe(self, target_group_arn, targets)

    group_class.deregister = deregister_and_drain
    group_class.deregister_terminated_instances = terminated_and_drain
    group_class.health_for = health_for
    models.ELBv2Backend.describe_target_health = describe_target_health
