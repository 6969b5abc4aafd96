"""Corrections of moto 5.2.5, for answers that AWS's provider would treat as differences, and for failures."""

from moto.autoscaling import models as autoscaling
from moto.core.types import Base64EncodedString
from moto.ec2.models import instances, launch_templates, security_groups
from moto.ec2.responses.launch_templates import LaunchTemplates
from moto.ec2.utils import parse_user_data
from moto.elbv2 import models as balancing


def apply() -> None:
    """Corrects moto in this process."""
    _launch_template_tags()
    _user_data_of_later_versions()
    _security_groups_of_instances()
    _network_interfaces_of_ended_instances()
    _descriptions_of_rules()
    _kinds_of_instances_of_updated_groups()
    _made_up_values()
    _arns_of_network_load_balancers()


def _launch_template_tags() -> None:
    # moto adds a template's own tags to those of its instances.
    create = LaunchTemplates.create_launch_template

    def create_launch_template(self):
        result = create(self)
        for template in self.ec2_backend.launch_templates.values():
            data = template.versions[0].data
            if "TagSpecifications" in data:
                data["TagSpecifications"] = [
                    each for each in data["TagSpecifications"] if each.get("ResourceType") != "launch-template"
                ]
        return result

    LaunchTemplates.create_launch_template = create_launch_template


def _user_data_of_later_versions() -> None:
    # moto parses the user data of the first version only, and then cannot create instances from later ones.
    init = launch_templates.LaunchTemplateVersion.__init__

    def version_init(self, template, number, data, description):
        user_data = data.get("UserData")
        if user_data is not None and not isinstance(user_data, Base64EncodedString):
            data["UserData"] = parse_user_data(user_data)
        init(self, template, number, data, description)

    launch_templates.LaunchTemplateVersion.__init__ = version_init


def _security_groups_of_instances() -> None:
    # moto ignores those of a network interface.
    def security_groups(self):
        first = self.__dict__.get("nics", {}).get(0)
        return list(first._group_set) if first else self._security_groups

    instances.Instance.security_groups = property(
        security_groups, lambda self, groups: setattr(self, "_security_groups", groups)
    )


def _network_interfaces_of_ended_instances() -> None:
    # They end with their instance. Their addresses can be requested again, but the next instance does not get them: otherwise
    # a test could mistake one instance for the other.
    terminate = instances.Instance.terminate

    def terminate_with_interfaces(self):
        interfaces = [each for each in self.nics.values() if each.id in self.ec2_backend.enis]
        for each in interfaces:
            each.delete_on_termination = True
        result = terminate(self)
        for each in interfaces:
            each.subnet._unused_ips.discard(each.private_ip_address)
        return result

    instances.Instance.terminate = terminate_with_interfaces


def _descriptions_of_rules() -> None:
    # The description of a rule about another security group belongs to that group.
    security_groups.SecurityGroupRule.description = property(
        lambda self: self.ip_range.get("Description") or self.source_group.get("Description")
    )


def _kinds_of_instances_of_updated_groups() -> None:
    # An update of other settings, such as the group's size, makes moto forget them.
    update = autoscaling.FakeAutoScalingGroup.update

    def update_group(self, *args, launch_config_name, launch_template, **kwargs):
        before = self.mixed_instances_policy
        update(self, *args, launch_config_name=launch_config_name, launch_template=launch_template, **kwargs)
        if not (launch_config_name or launch_template):
            self.mixed_instances_policy = self.mixed_instances_policy or before

    autoscaling.FakeAutoScalingGroup.update = update_group


def _made_up_values() -> None:
    # moto gives every lifecycle hook a role and a queue.
    init = autoscaling.LifecycleHook.__init__

    def hook_init(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self.role_arn = self.notification_target_arn = None

    autoscaling.LifecycleHook.__init__ = hook_init


def _arns_of_network_load_balancers() -> None:
    # moto names all `…:loadbalancer/app/…`, and the provider relies on the name.
    make = balancing.make_arn_for_load_balancer
    create = balancing.ELBv2Backend.create_load_balancer
    kind = ["app"]

    def make_arn(*args, **kwargs):
        return make(*args, **kwargs).replace(":loadbalancer/app/", f":loadbalancer/{kind[0]}/")

    def create_load_balancer(self, *args, **kwargs):
        kind[0] = {"network": "net"}.get(kwargs.get("loadbalancer_type"), "app")
        return create(self, *args, **kwargs)

    balancing.make_arn_for_load_balancer = make_arn
    balancing.ELBv2Backend.create_load_balancer = create_load_balancer
