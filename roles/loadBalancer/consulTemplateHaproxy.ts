/**
 * The stack consul-template + HAProxy: consul-template writes the list of healthy gateways, and the reconciler applies
 * it.
 */

import { type Layout, secretRef } from "../../programs/machine";
import { consulApi } from "../consul";
import { haproxyUser } from "../haproxy";
import { mergeRoles, type Role } from "../role";
import { balancerPaths, type HaproxyBalancerArgs, haproxyBalancer } from "./balancer";

/** Arguments of {@link consulTemplateHaproxy}. */
export interface ConsulTemplateHaproxyArgs extends HaproxyBalancerArgs {
    /** The name under which gateways are registered; a DNS label. */
    readonly service: string;
    /** Consul's datacenter. */
    readonly datacenter: string;
    /** Version of the tool `consul-template`. */
    readonly consulTemplateVersion: string;
    /** The secret that holds the token with which the catalog is read. Default `balancerToken`. */
    readonly token?: string;
}

/**
 * The template of the backend list: the instances whose checks all pass, ordered by node and id. consul-template writes
 * the file by renaming, and only when it changes.
 */
export function backendListTemplate(service: string, datacenter: string): string {
    return [
        "[",
        `{{- range $index, $each := service "${service}@${datacenter}|passing" }}`,
        "{{- if $index }},{{ end }}",
        '  { "id": {{ $each.ID | toJSON }}, "address": {{ $each.Address | toJSON }}, "port": {{ $each.Port }} }',
        "{{- end }}",
        "]",
        "",
    ].join("\n");
}

/** consul-template's configuration. */
function config(layout: Layout, paths: { token: string; template: string; list: string }): string {
    return [
        "consul {",
        `  address    = "${consulApi(layout)}"`,
        `  token_file = "${paths.token}"`,
        "  retry {",
        "    # No limit: the default gives up after twelve attempts, and the list would never change again.",
        "    attempts    = 0",
        '    max_backoff = "5s"',
        "  }",
        "}",
        "",
        'max_stale        = "2s"',
        'block_query_wait = "60s"',
        'log_level        = "warn"',
        "# By default it only reacts to SIGINT.",
        'kill_signal      = "SIGTERM"',
        "",
        "wait {",
        '  min = "100ms"',
        '  max = "500ms"',
        "}",
        "",
        "deduplicate {",
        "  enabled = false",
        "}",
        "",
        "template {",
        `  source               = "${paths.template}"`,
        `  destination          = "${paths.list}"`,
        "  perms                = 0644",
        "  backup               = true",
        "  error_on_missing_key = true",
        "  error_fatal          = false",
        "}",
        "",
    ].join("\n");
}

/**
 * A balancer of the stack, without the Consul agent (service `consul`) that the machine needs besides.
 *
 * There is no command to run after rendering: the reconciler watches the list.
 */
export function consulTemplateHaproxy(args: ConsulTemplateHaproxyArgs, layout: Layout): Role {
    const etc = `${layout.etc}/consul-template`;
    const paths = {
        config: `${etc}/config.hcl`,
        template: `${etc}/backends.json.ctmpl`,
        token: `${etc}/token`,
        list: balancerPaths(layout).list,
    };
    const consulTemplate: Role = {
        name: "consul-template",
        files: [
            { path: paths.config, content: config(layout, paths) },
            { path: paths.template, content: backendListTemplate(args.service, args.datacenter) },
            { path: paths.token, content: secretRef(args.token ?? "balancerToken"), owner: haproxyUser },
        ],
        services: [
            {
                name: "consul-template",
                description: "Writes the list of the healthy gateways",
                argv: [`${layout.bin}/consul-template`, `-config=${paths.config}`],
                // The same user as HAProxy and the reconciler: they share the directory with the list.
                user: haproxyUser,
                after: ["consul", "reconciler"],
                ready: { kind: "file", path: paths.list },
            },
        ],
        binaries: [
            {
                name: "consul-template",
                source: { kind: "tool", tool: "consul-template", version: args.consulTemplateVersion },
            },
        ],
        users: [],
        ports: [],
        healthChecks: [],
    };
    return mergeRoles("balancer", haproxyBalancer(args, layout), consulTemplate);
}
