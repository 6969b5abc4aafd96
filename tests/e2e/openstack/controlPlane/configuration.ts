/**
 * The configuration files of keystone, glance, placement, nova, neutron and octavia, and of the programs that they
 * need, as pure text.
 */
import { type ControlPlaneSettings, names, passwords, ports } from "./settings";

type Section = Readonly<Record<string, string | number | boolean>>;
type Ini = Readonly<Record<string, Section>>;

/** A file in the format of oslo.config. */
function ini(sections: Ini): string {
    return Object.entries(sections)
        .map(([name, values]) => {
            const lines = Object.entries(values).map(([key, value]) => `${key} = ${value}`);
            return `[${name}]\n${lines.join("\n")}\n`;
        })
        .join("\n");
}

const LOOPBACK = "127.0.0.1";
const QUEUE = `rabbit://guest:guest@${LOOPBACK}:${ports.queue}/`;

/** The databases, each named as its service's files below expect it. */
export const databases = [
    "keystone",
    "placement",
    "glance",
    "nova_api",
    "nova",
    "nova_cell0",
    "neutron",
    "octavia",
] as const;

/** A database's address for SQLAlchemy. */
export function databaseUrl(name: (typeof databases)[number]): string {
    return `mysql+pymysql://os:${passwords.database}@${LOOPBACK}:${ports.database}/${name}?charset=utf8`;
}

function database(name: (typeof databases)[number]): Section {
    return { connection: databaseUrl(name), max_pool_size: 5, max_overflow: 20 };
}

/**
 * Every file by its path below the settings' folder `etc`.
 *
 * The differences from a real cloud: the hypervisors are nova's own fake driver; neutron has no agents (the mechanism
 * driver in `noagent_ml2.py` binds every port at once); Octavia's load balancers have an address and no machines; each
 * service has one worker; and nothing is encrypted.
 */
export function configuration({ directory, address, computes }: ControlPlaneSettings): Record<string, string> {
    const data = `${directory}/data`;
    const keystoneUrl = `http://${address}:${ports.keystone}/v3`;
    const login = (username: string): Section => ({
        auth_url: keystoneUrl,
        auth_type: "password",
        project_domain_name: "Default",
        user_domain_name: "Default",
        project_name: "service",
        username,
        password: passwords.service,
        region_name: names.region,
    });
    const authtoken = (username: string): Ini => ({
        keystone_authtoken: {
            ...login(username),
            www_authenticate_uri: keystoneUrl,
            service_token_roles_required: true,
            service_token_roles: "service,admin",
        },
    });
    const messaging: Ini = {
        oslo_messaging_rabbit: { heartbeat_in_pthread: false },
        oslo_messaging_notifications: { driver: "noop" },
        oslo_concurrency: { lock_path: `${directory}/lock` },
    };
    const nova = (host: string) =>
        ini({
            DEFAULT: {
                state_path: `${data}/nova`,
                my_ip: LOOPBACK,
                host,
                transport_url: QUEUE,
                use_stderr: true,
                compute_driver: "fake.FakeDriver",
                enabled_apis: "osapi_compute",
                osapi_compute_listen: address,
                osapi_compute_listen_port: ports.nova,
                osapi_compute_workers: 1,
                metadata_listen: address,
                metadata_listen_port: ports.novaMetadata,
                metadata_workers: 1,
                vif_plugging_is_fatal: false,
                vif_plugging_timeout: 0,
                // The fake hypervisor forgets its machines when it restarts; the database does not.
                running_deleted_instance_action: "noop",
                sync_power_state_interval: -1,
                resume_guests_state_on_host_boot: true,
            },
            wsgi: { api_paste_config: `${directory}/etc/nova-paste.ini` },
            // A machine looks for its secrets there every second.
            api: { auth_strategy: "keystone", metadata_cache_expiration: 1 },
            api_database: database("nova_api"),
            database: database("nova"),
            scheduler: { workers: 1, discover_hosts_in_cells_interval: 5 },
            conductor: { workers: 1 },
            filter_scheduler: { track_instance_changes: false },
            vnc: { enabled: false },
            quota: { instances: 100, cores: 1000, ram: 1_000_000, server_groups: 100, server_group_members: 100 },
            ...authtoken("nova"),
            placement: login("placement"),
            neutron: {
                ...login("neutron"),
                service_metadata_proxy: true,
                metadata_proxy_shared_secret: passwords.metadata,
            },
            glance: login("glance"),
            service_user: { ...login("nova"), send_service_user_token: true },
            ...messaging,
        });
    return {
        "mariadb.cnf": ini({
            mariadbd: {
                datadir: `${data}/mysql`,
                socket: `${data}/mysql.sock`,
                "pid-file": `${data}/mysql.pid`,
                "bind-address": LOOPBACK,
                port: ports.database,
                user: "root",
                tmpdir: `${directory}/tmp`,
                "character-set-server": "utf8mb3",
                "collation-server": "utf8mb3_general_ci",
                max_connections: 400,
                performance_schema: "OFF",
                innodb_buffer_pool_size: "128M",
                innodb_log_file_size: "32M",
                // After a crash of this computer, the next run recreates what was lost.
                innodb_flush_log_at_trx_commit: 0,
                innodb_doublewrite: 0,
                innodb_flush_method: "nosync",
                sync_frm: 0,
            },
        }).replace("[mariadbd]\n", "[mariadbd]\nskip-name-resolve\nskip-log-bin\n"),
        "rabbitmq.conf": [
            `listeners.tcp.1 = ${LOOPBACK}:${ports.queue}`,
            "loopback_users.guest = true",
            "vm_memory_high_watermark.absolute = 512MiB",
            "disk_free_limit.absolute = 50MB",
            "log.file.level = warning",
            "",
        ].join("\n"),
        "rabbitmq-plugins": "[].\n",
        "keystone.conf": ini({
            DEFAULT: { use_stderr: true },
            database: database("keystone"),
            token: { provider: "fernet", expiration: 86_400 },
            fernet_tokens: { key_repository: `${data}/fernet` },
            credential: { key_repository: `${data}/credential` },
            identity: { password_hash_rounds: 4, max_password_length: 72 },
            cache: { enabled: true, backend: "dogpile.cache.memory" },
        }),
        "placement/placement.conf": ini({
            DEFAULT: { use_stderr: true },
            api: { auth_strategy: "keystone" },
            placement_database: database("placement"),
            ...authtoken("placement"),
        }),
        "glance.conf": ini({
            DEFAULT: {
                bind_host: address,
                bind_port: ports.glance,
                workers: 0,
                use_stderr: true,
                transport_url: QUEUE,
                enabled_import_methods: "[glance-direct]",
                node_staging_uri: `file://${data}/glance-staging`,
            },
            database: database("glance"),
            glance_store: {
                stores: "file",
                default_store: "file",
                filesystem_store_datadir: `${data}/glance-images`,
            },
            paste_deploy: { flavor: "keystone", config_file: `${directory}/etc/glance-paste.ini` },
            ...authtoken("glance"),
            ...messaging,
        }),
        "nova.conf": nova("control"),
        ...Object.fromEntries(
            Array.from({ length: computes }, (_, index) => [`nova-compute-${index}.conf`, nova(`compute-${index}`)]),
        ),
        "neutron.conf": ini({
            DEFAULT: {
                bind_host: address,
                bind_port: ports.neutron,
                api_workers: 0,
                rpc_workers: 0,
                rpc_state_report_workers: 0,
                use_stderr: true,
                core_plugin: "ml2",
                service_plugins: "router",
                auth_strategy: "keystone",
                state_path: `${data}/neutron`,
                transport_url: QUEUE,
                api_paste_config: `${directory}/etc/neutron-paste.ini`,
                dhcp_agent_notification: false,
                l3_ha: false,
                router_auto_schedule: false,
                notify_nova_on_port_status_changes: true,
                notify_nova_on_port_data_changes: true,
                max_allowed_address_pair: 100,
            },
            database: database("neutron"),
            ml2: {
                type_drivers: "local,flat,vlan,vxlan",
                tenant_network_types: "vxlan",
                mechanism_drivers: "noagent",
                extension_drivers: "port_security",
            },
            ml2_type_flat: { flat_networks: "*" },
            ml2_type_vlan: { network_vlan_ranges: "public" },
            ml2_type_vxlan: { vni_ranges: "1:10000" },
            quotas: Object.fromEntries(
                ["network", "subnet", "port", "router", "floatingip", "security_group", "security_group_rule"].map(
                    (kind) => [`quota_${kind}`, -1],
                ),
            ),
            ...authtoken("neutron"),
            nova: login("nova"),
            placement: login("placement"),
            ...messaging,
        }),
        "octavia.conf": ini({
            DEFAULT: { transport_url: QUEUE, use_stderr: true },
            database: database("octavia"),
            api_settings: {
                bind_host: address,
                bind_port: ports.octavia,
                auth_strategy: "keystone",
                enabled_provider_drivers: "amphora:no machines",
                default_provider_driver: "amphora",
            },
            oslo_messaging: { topic: "octavia", rpc_thread_pool_size: 2 },
            controller_worker: {
                workers: 1,
                amphora_driver: "amphora_noop_driver",
                compute_driver: "compute_noop_driver",
                network_driver: "vip_only",
                image_driver: "image_noop_driver",
                distributor_driver: "distributor_noop_driver",
                amp_image_tag: "amphora",
                amp_flavor_id: "noop",
                amp_boot_network_list: "noop",
                loadbalancer_topology: "SINGLE",
                client_ca: `${data}/octavia-ca.pem`,
            },
            health_manager: { heartbeat_key: "insecure", bind_ip: LOOPBACK },
            certificates: {
                cert_generator: "local_cert_generator",
                cert_manager: "local_cert_manager",
                ca_certificate: `${data}/octavia-ca.pem`,
                ca_private_key: `${data}/octavia-ca.key`,
                ca_private_key_passphrase: passwords.certificates,
                server_certs_key_passphrase: "thirty-two-characters-of-secrecy",
            },
            task_flow: { persistence_connection: "" },
            driver_agent: {
                status_socket_path: `${data}/octavia-status.sock`,
                stats_socket_path: `${data}/octavia-stats.sock`,
                get_socket_path: `${data}/octavia-get.sock`,
            },
            ...authtoken("octavia"),
            service_auth: login("octavia"),
            neutron: login("octavia"),
            ...messaging,
        }),
    };
}

/** `clouds.yaml` with the clouds `admin` (all rights) and `operator` (a member of the project of the deployment). */
export function cloudsYaml({ address }: ControlPlaneSettings): string {
    const cloud = (username: string, password: string, project: string) => ({
        region_name: names.region,
        identity_api_version: "3",
        interface: "public",
        auth: {
            auth_url: `http://${address}:${ports.keystone}/v3`,
            username,
            password,
            project_name: project,
            user_domain_name: "Default",
            project_domain_name: "Default",
        },
    });
    const clouds = {
        admin: cloud("admin", passwords.admin, "admin"),
        operator: cloud(names.operator, passwords.operator, names.project),
    };
    // JSON is YAML.
    return `${JSON.stringify({ clouds }, undefined, 4)}\n`;
}
