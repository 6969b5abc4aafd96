/**
 * A real OpenStack control plane on this computer, from Debian's packages: keystone, glance, placement, nova with its
 * fake hypervisors, neutron without agents, and octavia without machines. Servers become ACTIVE and run nothing; other
 * code boots their machines. Load balancers become ACTIVE and forward nothing.
 *
 * It starts with empty databases each time, copied from a template that the first start creates.
 */
import { createHash } from "node:crypto";
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { cloudsYaml, configuration, databases, databaseUrl } from "./configuration";
import { type Daemons, daemonsIn } from "./daemons";
import { ensurePackages, packagesInstalled } from "./packages";
import { type ControlPlaneSettings, names, passwords, ports } from "./settings";

/** A running control plane. */
export interface ControlPlane {
    /** Path of `clouds.yaml`, with the clouds `admin` and `operator`. */
    readonly cloudsYaml: string;
    /** The identity service's URL. */
    readonly authUrl: string;
    /** The names of its services, such as `nova-api` or `nova-compute-0`. */
    readonly services: readonly string[];
    /** Ends one service, as in a failure of the cloud. */
    stop(service: string): Promise<void>;
    /** Starts it again. */
    start(service: string): Promise<void>;
    /** Ends all services. The files stay, for the next start. */
    close(): Promise<void>;
}

/** A service: its command, and the condition that says it is ready. */
interface Service {
    readonly name: string;
    readonly argv: readonly string[];
    readonly url?: string;
    /** Whether it ends if nova's conductor does not answer yet. */
    readonly late?: boolean;
}

/** Programs that Debian ships only in the services' packages. */
const PROGRAMS = {
    "nova-api": "nova.cmd.api_os_compute",
    "nova-api-metadata": "nova.cmd.api_metadata",
    "nova-conductor": "nova.cmd.conductor",
    "nova-scheduler": "nova.cmd.scheduler",
    "nova-compute": "nova.cmd.compute",
    "nova-manage": "nova.cmd.manage",
    "glance-api": "glance.cmd.api",
    "glance-manage": "glance.cmd.manage",
    "neutron-server": "neutron.cmd.eventlet.server",
    "neutron-db-manage": "neutron.db.migration.cli",
    "octavia-worker": "octavia.cmd.octavia_worker",
    "octavia-db-manage": "octavia.db.migration.cli",
} as const;

const BASE = ["mariadb", "rabbitmq", "epmd"] as const;
const UWSGI = [
    ..."uwsgi_python3 --master --lazy-apps --enable-threads --die-on-term --no-orphans --need-app".split(" "),
    ..."--buffer-size 65535 --thunder-lock --disable-logging --processes 1 --threads 4 --listen 100".split(" "),
    ..."--socket-timeout 30".split(" "),
    "--add-header",
    "Connection: close",
];

function servicesOf({ directory, address, computes }: ControlPlaneSettings): Service[] {
    const etc = join(directory, "etc");
    const at = (port: number) => `http://${address}:${port}/`;
    const wsgi = (port: number, file: string) => [...UWSGI, "--http-socket", `${address}:${port}`, "--wsgi-file", file];
    const configured = (program: string, file = program) => [program, "--config-file", join(etc, `${file}.conf`)];
    return [
        { name: "keystone", argv: wsgi(ports.keystone, "/usr/bin/keystone-wsgi-public"), url: at(ports.keystone) },
        { name: "placement", argv: wsgi(ports.placement, "/usr/bin/placement-api"), url: at(ports.placement) },
        { name: "neutron", argv: configured("neutron-server", "neutron"), url: at(ports.neutron) },
        { name: "nova-conductor", argv: configured("nova-conductor", "nova") },
        { name: "nova-scheduler", argv: configured("nova-scheduler", "nova") },
        { name: "nova-api", argv: configured("nova-api", "nova"), url: at(ports.nova) },
        { name: "glance", argv: configured("glance-api", "glance"), url: at(ports.glance) },
        {
            name: "octavia",
            argv: [...wsgi(ports.octavia, "/usr/bin/octavia-wsgi"), "--pyargv", `--config-file ${etc}/octavia.conf`],
            url: at(ports.octavia),
        },
        { name: "octavia-worker", argv: configured("octavia-worker", "octavia") },
        ...Array.from({ length: computes }, (_, index) => ({
            name: `nova-compute-${index}`,
            argv: configured("nova-compute", `nova-compute-${index}`),
        })),
        {
            name: "nova-api-metadata",
            argv: configured("nova-api-metadata", "nova"),
            url: at(ports.novaMetadata),
            late: true,
        },
    ];
}

/** Installs the control plane's programs if they are missing. This needs the network outside. */
export async function prepareControlPlane(
    { directory }: ControlPlaneSettings,
    say: (line: string) => void,
): Promise<void> {
    await ensurePackages(join(directory, "etc"), say);
}

/** Whether its programs are installed. */
export function controlPlaneInstalled({ directory }: ControlPlaneSettings): Promise<boolean> {
    return packagesInstalled(join(directory, "etc"));
}

/** Ends a control plane that an earlier run left behind. */
export async function stopControlPlane(settings: ControlPlaneSettings): Promise<void> {
    await stopAll(daemonsOf(settings));
}

async function stopAll(daemons: Daemons): Promise<void> {
    const running = daemons.running();
    const base: readonly string[] = BASE;
    await daemons.stop(...running.filter((name) => !base.includes(name)));
    await daemons.stop(...running.filter((name) => base.includes(name)));
}

function daemonsOf({ directory, namespace }: ControlPlaneSettings): Daemons {
    const etc = join(directory, "etc");
    return daemonsIn(directory, namespace, {
        PATH: `${join(directory, "bin")}:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin`,
        HOME: join(directory, "home"),
        TMPDIR: join(directory, "tmp"),
        LANG: "C.UTF-8",
        PYTHONPATH: join(directory, "python"),
        PYTHONUNBUFFERED: "1",
        PYTHONWARNINGS: "ignore",
        OS_KEYSTONE_CONFIG_FILES: join(etc, "keystone.conf"),
        OS_PLACEMENT_CONFIG_DIR: join(etc, "placement"),
    });
}

/**
 * Starts it with only its users, its catalog and its hypervisors, and first ends one that runs. Its programs must be
 * installed: {@link prepareControlPlane}.
 *
 * @throws Error that says what did not start, with the end of its log.
 */
export async function startControlPlane(
    settings: ControlPlaneSettings,
    say: (line: string) => void,
): Promise<ControlPlane> {
    const { directory, address, computes } = settings;
    const data = join(directory, "data");
    for (const folder of ["etc", "bin", "python", "lock", "tmp", "home", "log/rabbit"]) {
        mkdirSync(join(directory, folder), { recursive: true });
    }
    chmodSync(directory, 0o755);
    await stopControlPlane(settings);
    writeFiles(settings);
    const daemons = daemonsOf(settings);

    const template = join(directory, `template-${templateVersion()}`);
    for (const folder of ["mysql", "rabbit", "glance-images", "nova", "neutron"]) {
        rmSync(join(data, folder), { recursive: true, force: true });
    }
    if (existsSync(template)) cpSync(template, join(data, "mysql"), { recursive: true, preserveTimestamps: true });
    for (const folder of ["nova/instances", "neutron", "glance-images", "glance-staging", "rabbit"]) {
        mkdirSync(join(data, folder), { recursive: true });
    }
    startQueue(daemons, directory);
    const services = servicesOf(settings);
    const byName = (name: string): Service => {
        const service = services.find((each) => each.name === name);
        if (!service)
            throw new Error(`there is no service ${name}; there are: ${services.map((s) => s.name).join(", ")}`);
        return service;
    };
    const launch = (name: string) => daemons.start(name, byName(name).argv);
    const ready = async (name: string) => {
        const { url } = byName(name);
        if (url !== undefined) await daemons.ready(name, 120, () => daemons.listens(url));
    };

    if (!existsSync(template)) {
        say("making the databases, once");
        for (const old of readdirSync(directory).filter((name) => name.startsWith("template"))) {
            rmSync(join(directory, old), { recursive: true, force: true });
        }
        await makeDatabases(daemons, directory, `http://${address}:${ports.keystone}/v3`);
        launch("keystone");
        await ready("keystone");
        await seed(daemons, settings);
        await daemons.stop("keystone", "mariadb");
        cpSync(join(data, "mysql"), `${template}.part`, { recursive: true, preserveTimestamps: true });
        cpSync(`${template}.part`, template, { recursive: true, preserveTimestamps: true });
        rmSync(`${template}.part`, { recursive: true, force: true });
    }
    await startDatabase(daemons, directory);
    await daemons.ready("rabbitmq", 90, () => daemons.listens(`http://127.0.0.1:${ports.queue}/`));
    const [early, late] = [services.filter((each) => !each.late), services.filter((each) => each.late)];
    for (const { name } of early) launch(name);
    for (const { name } of early) await ready(name);
    // They are up once the conductor has answered them.
    await hypervisorsUp(daemons, directory, computes);
    for (const { name } of late) launch(name);
    for (const { name } of late) await ready(name);
    return {
        cloudsYaml: join(directory, "clouds.yaml"),
        authUrl: `http://${address}:${ports.keystone}/v3`,
        services: services.map(({ name }) => name),
        stop: (name) => daemons.stop(byName(name).name),
        async start(name) {
            launch(name);
            await ready(name);
            if (name.startsWith("nova-compute")) await hypervisorsUp(daemons, directory, computes);
        },
        close: () => stopAll(daemons),
    };
}

/** The databases' template depends on these sources: another version of them gives another template. */
function templateVersion(): string {
    const sources = ["index.ts", "seed.py", "settings.ts"].map((file) => readFileSync(join(__dirname, file)));
    return createHash("sha256")
        .update(Buffer.concat([...sources, Buffer.from(databases.join())]))
        .digest("hex")
        .slice(0, 12);
}

function writeFiles(settings: ControlPlaneSettings): void {
    const { directory } = settings;
    const put = (path: string, content: string, mode = 0o644) => {
        mkdirSync(dirname(join(directory, path)), { recursive: true });
        writeFileSync(join(directory, path), content);
        chmodSync(join(directory, path), mode);
    };
    for (const [path, content] of Object.entries(configuration(settings))) put(join("etc", path), content);
    put("clouds.yaml", cloudsYaml(settings), 0o600);
    for (const file of ["noagent_ml2.py", "vip_only.py"]) {
        put(`python/${file}`, readFileSync(join(__dirname, file), "utf8"));
    }
    put("python/gateway_drivers-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: gateway-drivers\nVersion: 1\n");
    put(
        "python/gateway_drivers-1.dist-info/entry_points.txt",
        "[neutron.ml2.mechanism_drivers]\nnoagent = noagent_ml2:NoAgentMechanismDriver\n" +
            "[octavia.network.drivers]\nvip_only = vip_only:VipOnlyDriver\n",
    );
    for (const [program, module] of Object.entries(PROGRAMS)) {
        put(
            `bin/${program}`,
            `#!/usr/bin/python3\nimport sys\nfrom ${module} import main\n\nsys.exit(main())\n`,
            0o755,
        );
    }
}

function startQueue(daemons: Daemons, directory: string): void {
    const portMapper = { ERL_EPMD_ADDRESS: "127.0.0.1", ERL_EPMD_PORT: String(ports.portMapper) };
    daemons.start("epmd", ["epmd", "-address", "127.0.0.1", "-port", String(ports.portMapper)], portMapper);
    const rabbit = join(directory, "data/rabbit");
    daemons.start("rabbitmq", ["/usr/lib/rabbitmq/bin/rabbitmq-server"], {
        ...portMapper,
        RABBITMQ_NODENAME: "gateway-openstack@localhost",
        RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
        RABBITMQ_NODE_PORT: String(ports.queue),
        RABBITMQ_DIST_PORT: String(ports.queueDistribution),
        RABBITMQ_MNESIA_BASE: join(rabbit, "mnesia"),
        RABBITMQ_LOG_BASE: join(directory, "log/rabbit"),
        RABBITMQ_CONFIG_FILE: join(directory, "etc/rabbitmq.conf"),
        RABBITMQ_ENABLED_PLUGINS_FILE: join(directory, "etc/rabbitmq-plugins"),
        RABBITMQ_CONF_ENV_FILE: "/dev/null",
        RABBITMQ_PID_FILE: join(rabbit, "pid"),
        RABBITMQ_GENERATED_CONFIG_DIR: join(rabbit, "generated"),
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "+S 1:1 +A 4 -kernel inet_dist_use_interface {127,0,0,1}",
    });
}

async function startDatabase(daemons: Daemons, directory: string): Promise<void> {
    daemons.start("mariadb", ["mariadbd", `--defaults-file=${join(directory, "etc/mariadb.cnf")}`]);
    await daemons.ready("mariadb", 60, async () => {
        await sql(daemons, directory, "SELECT 1");
        return true;
    });
}

async function sql(daemons: Daemons, directory: string, statements: string): Promise<void> {
    const socket = join(directory, "data/mysql.sock");
    await daemons.once(["mariadb", "--no-defaults", "-uroot", "-S", socket, "-e", statements], 30);
}

/** Creates the databases with their tables. It takes most of a minute. */
async function makeDatabases(daemons: Daemons, directory: string, keystoneUrl: string): Promise<void> {
    const etc = (file: string) => join(directory, "etc", file);
    await daemons.once(
        [
            "mariadb-install-db",
            `--defaults-file=${etc("mariadb.cnf")}`,
            "--auth-root-authentication-method=socket",
            "--skip-test-db",
            "--user=root",
        ],
        120,
    );
    await startDatabase(daemons, directory);
    const user = `os@'127.0.0.1'`;
    await sql(
        daemons,
        directory,
        [
            `CREATE OR REPLACE USER ${user} IDENTIFIED BY '${passwords.database}'; GRANT ALL ON *.* TO ${user};`,
            ...databases.map((name) => `CREATE DATABASE ${name} CHARACTER SET utf8mb3;`),
        ].join("\n"),
    );
    for (const folder of ["fernet", "credential"]) {
        rmSync(join(directory, "data", folder), { recursive: true, force: true });
        mkdirSync(join(directory, "data", folder), { recursive: true, mode: 0o700 });
    }
    const manage = (program: string, file: string, ...args: string[]) =>
        daemons.once([program, "--config-file", etc(file), ...args], 600);
    const keystone = (...args: string[]) => manage("keystone-manage", "keystone.conf", ...args);
    const nova = (...args: string[]) => manage("nova-manage", "nova.conf", ...args);
    const others = async () => {
        const root = ["--keystone-user", "root", "--keystone-group", "root"];
        await keystone("db_sync");
        await keystone("fernet_setup", ...root);
        await keystone("credential_setup", ...root);
        const urls = ["public", "internal", "admin"].flatMap((kind) => [`--bootstrap-${kind}-url`, keystoneUrl]);
        await keystone(
            ...["bootstrap", "--bootstrap-password", passwords.admin, "--bootstrap-region-id", names.region],
            ...urls,
        );
        await manage("placement-manage", "placement/placement.conf", "db", "sync");
        await manage("glance-manage", "glance.conf", "db_sync");
        await nova("api_db", "sync");
        await nova("cell_v2", "map_cell0", "--database_connection", databaseUrl("nova_cell0"));
        await nova("db", "sync");
        await nova("cell_v2", "create_cell", "--name", "cell1");
        await manage("octavia-db-manage", "octavia.conf", "upgrade", "head");
        await authority(daemons, join(directory, "data"));
    };
    await Promise.all([manage("neutron-db-manage", "neutron.conf", "upgrade", "heads"), others()]);
}

/** The certificate authority of Octavia's machines. Octavia requires it even without machines. */
async function authority(daemons: Daemons, data: string): Promise<void> {
    const [certificate, key] = [join(data, "octavia-ca.pem"), join(data, "octavia-ca.key")];
    await daemons.once(
        [
            ...["openssl", "req", "-x509", "-newkey", "rsa:2048", "-days", "3650", "-subj", "/CN=octavia"],
            ...["-passout", `pass:${passwords.certificates}`, "-keyout", key, "-out", certificate],
        ],
        60,
    );
}

async function seed(daemons: Daemons, { address }: ControlPlaneSettings): Promise<void> {
    const at = (port: number, path = "") => `http://${address}:${port}${path}`;
    const wanted = {
        auth_url: at(ports.keystone, "/v3"),
        admin_password: passwords.admin,
        service_password: passwords.service,
        region: names.region,
        services: [
            ["glance", "image", at(ports.glance)],
            ["placement", "placement", at(ports.placement)],
            ["nova", "compute", at(ports.nova, "/v2.1")],
            ["neutron", "network", at(ports.neutron)],
            ["octavia", "load-balancer", at(ports.octavia)],
        ],
        operator: { name: names.operator, password: passwords.operator, project: names.project },
    };
    await daemons.once(["/usr/bin/python3", join(__dirname, "seed.py"), JSON.stringify(wanted)], 120);
}

/** Waits until every hypervisor has reported and accepts servers. */
async function hypervisorsUp(daemons: Daemons, directory: string, count: number): Promise<void> {
    const script = ["/usr/bin/python3", join(__dirname, "hypervisors.py"), join(directory, "clouds.yaml")];
    await daemons.ready("nova-compute-0", 120, async () => Number(await daemons.once(script, 60)) >= count);
}
