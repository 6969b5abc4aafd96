"""Prints how many hypervisors are up and known to placement. Gets the path of clouds.yaml."""

import os
import sys

os.environ["OS_CLIENT_CONFIG_FILE"] = sys.argv[1]

import openstack  # noqa: E402

cloud = openstack.connect(cloud="admin")
up = [hypervisor for hypervisor in cloud.compute.hypervisors(details=True) if hypervisor.state == "up"]
stocked = 0
for provider in cloud.placement.resource_providers():
    path = f"/resource_providers/{provider.id}/inventories"
    stocked += bool(cloud.placement.get(path, microversion="1.20").json()["inventories"])
print(min(len(up), stocked))
