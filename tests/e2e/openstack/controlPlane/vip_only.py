"""A network driver of Octavia: load balancers have addresses in Neutron, and nothing is plugged into their machines.

There are none: what is left out is what Octavia's own "noop" drivers leave out.
"""

from octavia.network import base
from octavia.network.drivers.neutron import allowed_address_pairs
from octavia.network.drivers.noop_driver import driver

REAL = (
    "allocate_vip",
    "deallocate_vip",
    "get_network_by_name",
    "get_subnet_by_name",
    "get_port_by_name",
    "get_port_by_net_id_device_id",
    "get_network_ip_availability",
)


class VipOnlyDriver(driver.NoopNetworkDriver):
    def __init__(self):
        super().__init__()
        self.neutron = allowed_address_pairs.AllowedAddressPairsDriver()
        for name in REAL:
            setattr(self, name, getattr(self.neutron, name))

    def get_network(self, network_id, context=None):
        return self._look_up("get_network", network_id, context)

    def get_subnet(self, subnet_id, context=None):
        return self._look_up("get_subnet", subnet_id, context)

    def get_port(self, port_id, context=None):
        return self._look_up("get_port", port_id, context)

    def _look_up(self, what, identifier, context):
        try:
            return getattr(self.neutron, what)(identifier, context=context)
        except (base.NetworkNotFound, base.SubnetNotFound, base.PortNotFound):
            # Without a user's context it is the worker that asks, for what the noop drivers have made up.
            if context is not None:
                raise
            return getattr(super(), what)(identifier)
