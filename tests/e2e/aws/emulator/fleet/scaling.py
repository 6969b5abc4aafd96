"""Stand-in for AutoScaling: moto starts and ends a group's instances only inside calls that ask for it, never by itself.

A loop brings each group to its desired state, as AWS's documentation of Amazon EC2 Auto Scaling describes:

- Health: it replaces an instance that does not run, or, with checks of the type ELB, one that its target group finds unhealthy
  after the grace period. If the instance maintenance policy allows, it starts the new one first ("launch before terminating").
- Lifecycle hooks hold an instance that must end until they are completed or time out.
- A refresh replaces instances of another version of the launch template in turns, with checkpoints.
- Capacity rebalance replaces an instance for which there is a recommendation.

It lacks scaling policies, warm pools, refusals for lack of capacity, failed refreshes and their rollback, and AWS's timing.
"""

import math
import time
import uuid

from moto.autoscaling import models
from moto.autoscaling.exceptions import AutoscalingClientError, ValidationError
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import utcnow
from moto.ec2.utils import convert_tag_spec

from .targets import Checks

#: AWS allows one instance more than the maximum for a replacement.
LEAST_ROOM = 1
TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"


class Member(models.InstanceState):
    """An instance of a group."""

    def __init__(self, instance, group, version: int) -> None:
        super().__init__(instance, "Pending", "Healthy", group.new_instances_protected_from_scale_in, group)
        self._template = {
            "LaunchTemplateId": group.ec2_launch_template.id,
            "LaunchTemplateName": group.ec2_launch_template.name,
            "Version": str(version),
        }
        self.in_service_at = math.inf
        #: Why it must go; None if it stays.
        self.leaving: str | None = None
        #: The time until which a hook holds it.
        self.held_until: float | None = None

    @property
    def launch_template(self):
        return self._template

    @property
    def version(self) -> str:
        return self._template["Version"]

    @property
    def ending(self) -> bool:
        return self.lifecycle_state.startswith("Terminating")


class Refresh:
    """An instance refresh."""

    def __init__(self, group, preferences: dict) -> None:
        self.instance_refresh_id = str(uuid.uuid4())
        self.auto_scaling_group_name = group.name
        self.status = "InProgress"
        self.status_reason = ""
        self.start_time = utcnow()
        self.end_time = None
        self.percentage_complete = 0
        self.instances_to_update = 0
        self.checkpoints = [int(each) for each in preferences.get("CheckpointPercentages", [])] or [100]
        self.delay = float(preferences.get("CheckpointDelay", 3600 if len(self.checkpoints) > 1 else 0))
        self.passed = 0
        self.waits_until = 0.0
        self.total = len(group.instance_states)

    def end(self, status: str) -> None:
        self.status, self.end_time = status, utcnow()


class Scaling:
    """The loop over the groups of a region."""

    def __init__(self, backend: models.AutoScalingBackend, checks: Checks) -> None:
        self.backend = backend
        self.checks = checks
        self.refreshes: dict[str, list[Refresh]] = {}
        self.activities: list[models.Activity] = []
        #: Instances for which AWS recommends a replacement.
        self.recommended: set[str] = set()

    def tick(self) -> None:
        """Continues the work on every group. The caller holds the emulator's lock."""
        for group in self.backend.autoscaling_groups.values():
            self._look(group)
            self._refresh(group)
            self._balance(group)

    def end(self, member: Member, cause: str) -> None:
        """Ends an instance, once no hook holds it."""
        self._tell(member.auto_scaling_group, f"Terminating EC2 instance: {member.instance_id}", cause)
        self._deregister(member)
        group = member.auto_scaling_group
        hooks = [h for h in self.backend.describe_lifecycle_hooks(group.name) if h.lifecycle_transition == TERMINATING]
        member.lifecycle_state = "Terminating:Wait"
        member.held_until = time.monotonic() + max((int(h.heartbeat_timeout) for h in hooks), default=0)

    def held(self, group_name: str, instance_id: str) -> Member:
        """The member that a hook holds. Raises AWS's error if there is none."""
        group = self.backend.autoscaling_groups.get(group_name)
        for member in group.instance_states if group else []:
            if member.instance_id == instance_id and member.lifecycle_state == "Terminating:Wait":
                return member
        raise ValidationError(f"No active Lifecycle Action found with instance ID {instance_id}")

    # The present state of the instances.
    def _look(self, group) -> None:
        now = time.monotonic()
        for member in list(group.instance_states):
            if member.instance.state == "terminated":
                cause = (
                    "" if member.ending else "an instance was taken out of service in response to an EC2 health check"
                )
                self._drop(member, cause)
            elif member.lifecycle_state == "Pending":
                member.lifecycle_state, member.in_service_at = "InService", now
                self._register(member)
            elif member.lifecycle_state == "Terminating:Wait":
                if now >= (member.held_until or 0):
                    member.lifecycle_state = "Terminating:Proceed"
                    self.backend.ec2_backend.terminate_instances([member.instance_id])
                    self.backend.elbv2_backend.notify_terminate_instances([member.instance_id])
                    self._drop(member, "")
            elif member.lifecycle_state == "InService" and "HealthCheck" not in _suspended(group):
                grace = float(group.health_check_grace_period or 0)
                ill = (
                    group.health_check_type == "ELB"
                    and now >= member.in_service_at + grace
                    and "unhealthy" in self._states(member)
                )
                if member.instance.state == "stopped" or ill:
                    member.health_status = "Unhealthy"

    # Instances that must go because of a refresh.
    def _refresh(self, group) -> None:
        now = time.monotonic()
        refresh = next(iter(self.refreshes.get(group.name, [])), None)
        if refresh is None or refresh.status != "InProgress":
            return
        current = str(_version(group).number)
        outdated = [m for m in group.instance_states if m.version != current and not m.ending]
        refresh.instances_to_update = len(outdated)
        done = 100 if refresh.total == 0 else max(0, 100 * (refresh.total - len(outdated)) // refresh.total)
        refresh.percentage_complete = done
        if any(m.leaving for m in outdated) or any(m.ending for m in group.instance_states):
            return
        reached = [each for each in refresh.checkpoints if refresh.passed < each <= done]
        if reached:
            refresh.passed, refresh.waits_until = max(reached), now + refresh.delay
        if now < refresh.waits_until:
            return
        if not outdated:
            if all(self._serves(group, m) for m in group.instance_states):
                refresh.end("Successful")
            return
        least, most = _limits(group)
        at_once = max(1, most - group.desired_capacity, group.desired_capacity - least)
        for member in sorted(outdated, key=lambda m: m.instance.launch_time)[:at_once]:
            member.leaving = "an instance refresh"

    # The present and the desired number of instances.
    def _balance(self, group) -> None:
        suspended = _suspended(group)
        live = [m for m in group.instance_states if not m.ending]
        for member in live:
            if member.health_status == "Unhealthy" and "ReplaceUnhealthy" not in suspended:
                member.leaving = member.leaving or "an instance that a health check found unhealthy"
            if member.instance_id in self.recommended and group.capacity_rebalance:
                member.leaving = member.leaving or "an EC2 instance rebalance recommendation"
        staying = [m for m in live if not m.leaving]
        least, most = _limits(group)
        missing = group.desired_capacity - len(staying)
        for _ in range(max(0, min(missing, most - len(live)))):
            self._launch(group)
        for member in sorted(staying, key=lambda m: (int(m.version), m.instance.launch_time))[: max(0, -missing)]:
            member.leaving = "a user request or a policy that shrank the group"
        # Unhealthy ones first, because they do not serve.
        for member in sorted([m for m in live if m.leaving], key=lambda m: m.health_status == "Healthy"):
            others = [m for m in live if m is not member and self._serves(group, m)]
            if len(others) >= least:
                live.remove(member)
                self.end(member, f"in response to {member.leaving}")

    def _serves(self, group, member: Member) -> bool:
        warm = time.monotonic() >= member.in_service_at + float(getattr(group, "default_instance_warmup", None) or 0)
        return warm and member.health_status == "Healthy" and set(self._states(member)) <= {"healthy"}

    def _states(self, member: Member) -> list[str]:
        groups = [
            self.backend.elbv2_backend.target_groups.get(arn) for arn in member.auto_scaling_group.target_group_arns
        ]
        return [self.checks.state(each, member.instance_id) for each in groups if each]

    def _launch(self, group) -> None:
        live = [m for m in group.instance_states if not m.ending]
        subnets = group.vpc_zone_identifier.split(",")
        subnet = min(subnets, key=lambda each: sum(m.instance.subnet_id == each for m in live))
        version = _version(group)
        distribution = (group.mixed_instances_policy or {}).get("InstancesDistribution", {})
        overrides = (group.mixed_instances_policy or {}).get("LaunchTemplate", {}).get("Overrides", [])
        on_demand = sum(m.instance.lifecycle != "spot" for m in live)
        share = int(distribution.get("OnDemandPercentageAboveBaseCapacity", 100)) / 100
        base = int(distribution.get("OnDemandBaseCapacity", 0))
        wanted = base + share * max(0, len(live) + 1 - base)
        [instance] = self.backend.ec2_backend.run_instances(
            version.image_id,
            1,
            version.user_data,
            [],
            instance_type=overrides[0]["InstanceType"] if overrides else version.instance_type,
            is_instance_type_default=False,
            subnet_id=subnet,
            launch_template={"LaunchTemplateId": group.ec2_launch_template.id, "Version": str(version.number)},
            iam_instance_profile=version.data.get("IamInstanceProfile"),
            metadata_options=version.data.get("MetadataOptions", {}),
            associate_public_ip=None,
            tags={
                "instance": {**group.get_propagated_tags(), models.ASG_NAME_TAG: group.name},
                "volume": convert_tag_spec(version.data.get("TagSpecifications", [])).get("volume", {}),
            },
            **({} if on_demand + 1 <= wanted else {"instance_market_options": {"MarketType": "spot"}}),
        ).instances
        instance.autoscaling_group = group
        group.instance_states.append(Member(instance, group, version.number))
        self._tell(
            group,
            f"Launching a new EC2 instance: {instance.id}",
            "in response to a difference between desired and actual capacity",
        )

    def _register(self, member: Member) -> None:
        for arn in member.auto_scaling_group.target_group_arns:
            if target_group := self.backend.elbv2_backend.target_groups.get(arn):
                target_group.register([{"Id": member.instance_id, "Port": target_group.port}])

    def _deregister(self, member: Member) -> None:
        for arn in member.auto_scaling_group.target_group_arns:
            target_group = self.backend.elbv2_backend.target_groups.get(arn)
            if target_group and member.instance_id in target_group.targets:
                target_group.deregister([{"Id": member.instance_id}])

    def _drop(self, member: Member, cause: str) -> None:
        group = member.auto_scaling_group
        group.instance_states = [m for m in group.instance_states if m is not member]
        if cause:
            self._tell(group, f"Terminating EC2 instance: {member.instance_id}", cause)

    def _tell(self, group, description: str, cause: str) -> None:
        self.activities.insert(
            0, models.Activity(description, f"At {utcnow()}, {cause}", group, status_code="Successful")
        )


def _version(group):
    return group.ec2_launch_template.get_version(group.launch_template_version)


def _suspended(group) -> set[str]:
    return {each["ProcessName"] for each in group.suspended_processes}


def _limits(group) -> tuple[int, int]:
    """The minimum of instances that must serve, and the maximum of all, while instances are replaced."""
    policy = getattr(group, "instance_maintenance_policy", None) or {}
    desired = group.desired_capacity
    least = math.ceil(desired * int(policy.get("MinHealthyPercentage", 0)) / 100)
    most = math.ceil(desired * int(policy.get("MaxHealthyPercentage", 100)) / 100)
    return least, (max(most, desired + LEAST_ROOM) if most > desired else most)


def stand_in(scaling: Scaling) -> None:
    """Makes moto leave changes of groups to the loop, and answer calls that it does not know."""
    group_class, backend_class = models.FakeAutoScalingGroup, models.AutoScalingBackend

    def set_desired_capacity(self, new_capacity):
        self.desired_capacity = self.min_size if new_capacity is None else new_capacity

    def nothing(self, *_args):
        pass

    group_class.set_desired_capacity = set_desired_capacity
    backend_class.notify_terminate_instances = nothing
    backend_class.update_attached_target_groups = nothing

    def terminate_instance(self, instance_id, should_decrement):
        member = next(
            (m for g in self.autoscaling_groups.values() for m in g.instance_states if m.instance_id == instance_id),
            None,
        )
        if member is None:
            raise ValidationError(f"Instance Id not found - No managed instance found for instance ID: {instance_id}")
        if should_decrement:
            member.auto_scaling_group.desired_capacity -= 1
        if not member.ending:
            scaling.end(member, "in response to a user request")
        return scaling.activities[0]

    backend_class.terminate_instance = terminate_instance

    def delete_auto_scaling_group(self, group_name):
        group = self.autoscaling_groups.get(group_name)
        if group is None:
            raise ValidationError(f"AutoScalingGroup name not found - AutoScalingGroup '{group_name}' not found")
        if group.instance_states:
            raise AutoscalingClientError("ResourceInUse", "The group still has instances")
        del self.autoscaling_groups[group_name]

    backend_class.delete_auto_scaling_group = delete_auto_scaling_group

    # Settings that moto forgets.
    def remembering(call):
        def remember(self):
            result = call(self)
            group = self.autoscaling_backend.autoscaling_groups[self._get_param("AutoScalingGroupName")]
            params = self._get_params()
            if policy := params.get("InstanceMaintenancePolicy"):
                group.instance_maintenance_policy = policy
            if warmup := params.get("DefaultInstanceWarmup"):
                group.default_instance_warmup = int(warmup)
            if (rebalance := params.get("CapacityRebalance")) is not None:
                group.capacity_rebalance = str(rebalance).lower() == "true"
            return result

        return remember

    responses = AutoScalingResponse
    responses.create_auto_scaling_group = remembering(responses.create_auto_scaling_group)
    responses.update_auto_scaling_group = remembering(responses.update_auto_scaling_group)

    def complete_lifecycle_action(self):
        scaling.held(self._get_param("AutoScalingGroupName"), self._get_param("InstanceId")).held_until = 0.0
        return EmptyResult()

    def record_lifecycle_action_heartbeat(self):
        name = self._get_param("AutoScalingGroupName")
        [hook] = self.autoscaling_backend.describe_lifecycle_hooks(name, [self._get_param("LifecycleHookName")])
        scaling.held(name, self._get_param("InstanceId")).held_until = time.monotonic() + int(hook.heartbeat_timeout)
        return EmptyResult()

    def start_instance_refresh(self):
        name = self._get_param("AutoScalingGroupName")
        group = self.autoscaling_backend.autoscaling_groups[name]
        earlier = scaling.refreshes.setdefault(name, [])
        if earlier and earlier[0].status == "InProgress":
            raise AutoscalingClientError("InstanceRefreshInProgress", "An Instance Refresh is already in progress")
        refresh = Refresh(group, self._get_params().get("Preferences", {}))
        earlier.insert(0, refresh)
        return ActionResult({"InstanceRefreshId": refresh.instance_refresh_id})

    def cancel_instance_refresh(self):
        refreshes = scaling.refreshes.get(self._get_param("AutoScalingGroupName"), [])
        if not refreshes or refreshes[0].status != "InProgress":
            raise AutoscalingClientError(
                "ActiveInstanceRefreshNotFound", "No in progress or pending Instance Refresh found"
            )
        refreshes[0].end("Cancelled")
        return ActionResult({"InstanceRefreshId": refreshes[0].instance_refresh_id})

    def describe_instance_refreshes(self):
        wanted = self._get_param("InstanceRefreshIds", [])
        refreshes = scaling.refreshes.get(self._get_param("AutoScalingGroupName"), [])
        return ActionResult(
            {"InstanceRefreshes": [r for r in refreshes if not wanted or r.instance_refresh_id in wanted]}
        )

    def describe_scaling_activities(self):
        name = self._get_param("AutoScalingGroupName")
        return ActionResult(
            {"Activities": [a for a in scaling.activities if name in (None, a.auto_scaling_group_name)]}
        )

    for call in (
        complete_lifecycle_action,
        record_lifecycle_action_heartbeat,
        start_instance_refresh,
        cancel_instance_refresh,
        describe_instance_refreshes,
        describe_scaling_activities,
    ):
        setattr(responses, call.__name__, call)
