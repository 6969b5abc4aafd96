"""Makes the service users, the catalog, the operator's project and the public network. What is there is left alone.

Gets as JSON: auth_url, admin_password, service_password, region, services [[name, type, url], ...],
operator {name, password, project}.
"""

import json
import sys

import openstack

wanted = json.loads(sys.argv[1])
cloud = openstack.connect(
    auth={
        "auth_url": wanted["auth_url"],
        "username": "admin",
        "password": wanted["admin_password"],
        "project_name": "admin",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
    },
    region_name=wanted["region"],
    identity_api_version="3",
)
identity = cloud.identity
roles = {role.name: role for role in identity.roles()}
projects = {project.name: project for project in identity.projects()}
users = {user.name: user for user in identity.users()}
services = {service.type: service for service in identity.services()}
endpoints = {(endpoint.service_id, endpoint.interface): endpoint for endpoint in identity.endpoints()}

for name in ("service", "load-balancer_member"):
    if name not in roles:
        roles[name] = identity.create_role(name=name)
for name in ("service", wanted["operator"]["project"]):
    if name not in projects:
        projects[name] = identity.create_project(name=name, domain_id="default")


def user(name, password, project, granted):
    if name not in users:
        users[name] = identity.create_user(
            name=name, password=password, domain_id="default", default_project_id=projects[project].id
        )
    for role in granted:
        identity.assign_project_role_to_user(projects[project], users[name], roles[role])


operator = wanted["operator"]
user(operator["name"], operator["password"], operator["project"], ["member", "reader", "load-balancer_member"])
for name, kind, url in wanted["services"]:
    user(name, wanted["service_password"], "service", ["admin", "service"])
    service = services.get(kind) or identity.create_service(name=name, type=kind)
    for interface in ("public", "internal", "admin"):
        endpoint = endpoints.get((service.id, interface))
        if endpoint is None:
            identity.create_endpoint(
                service_id=service.id, interface=interface, region_id=wanted["region"], url=url
            )
        elif endpoint.url != url:
            identity.update_endpoint(endpoint.id, url=url)
