/**
 * What will keep the loop from replacing servers one day, or their successors from joining, though nothing fails yet. The
 * daemon checks it regularly. A finding is an alarm until the check passes again: in the log, in the journal, as a metric,
 * and on top of `status`.
 */
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { Gauge, type Registry } from "prom-client";
import type { ConsulHttp } from "../../clients/consul";
import { type SecretsOfState, secretsProblem } from "../../engine/secretsCheck";
import type { Clock } from "../../lib/clock";

/** The used part of the stack's state. Secrets are encrypted. */
export interface CheckedState extends SecretsOfState {
    readonly resources?: readonly {
        readonly type: string;
        readonly outputs?: Readonly<Record<string, unknown>>;
        readonly delete?: boolean;
    }[];
}

/** A check. Returns what is wrong, or undefined. @throws Error when it cannot be made now; the last result then stays. */
export interface Check {
    readonly name: "certificate" | "gossipKey" | "passphrase" | "election";
    readonly find: () => Promise<string | undefined>;
}

/** Checks, by what the daemon has. */
export interface CheckParts {
    /** Reads the stack's state; undefined when it cannot be read without the CLI. */
    readonly state: () => Promise<CheckedState | undefined>;
    readonly consul?: ConsulHttp | undefined;
    /** File with the gossip key that the deployment gives to new machines. */
    readonly gossipKeyFile?: string | undefined;
    readonly now: () => number;
    /** Receives when each certificate ends, in seconds since 1970. */
    readonly ends?: (certificate: CertificateName, time: number) => void;
}

type CertificateName = "authority" | "servers";

const DAY = 86_400;

/**
 * Time before a certificate's end at which it is an alarm, in seconds. A deployment renews the servers' certificate 120 days
 * before its end, so this alarm means that nobody has deployed for a month. Nothing renews the authority's: time is needed
 * to plan.
 */
const ALARM_BEFORE: Readonly<Record<CertificateName, number>> = { servers: 90 * DAY, authority: 365 * DAY };

const REMEDY: Readonly<Record<CertificateName, string>> = {
    servers: "deploy the stack, which renews it",
    authority: "plan a new deployment beside this one: machines trust no other authority",
};

/** The checks that these parts allow. */
export function checksOf({ state, consul, gossipKeyFile, now, ends }: CheckParts): Check[] {
    const passphrase: Check = {
        name: "passphrase",
        find: once(async () => {
            const found = await state();
            return found && { key: JSON.stringify(found.secrets_providers), find: () => secretsProblem(found) };
        }),
    };
    const certificate: Check = {
        name: "certificate",
        find: async () => certificateProblem(certificatesIn((await state())?.resources ?? []), now(), ends),
    };
    const gossipKey = consul && gossipKeyFile && gossipKeyCheck(consul, gossipKeyFile);
    return [passphrase, certificate, ...(gossipKey ? [gossipKey] : [])];
}

/** Does expensive work again only after a change of its key, or a finding. */
function once(
    prepare: () => Promise<{ readonly key: string; readonly find: () => Promise<string | undefined> } | undefined>,
): Check["find"] {
    let passed: string | undefined;
    return async () => {
        const work = await prepare();
        if (!work || work.key === passed) return undefined;
        const found = await work.find();
        passed = found === undefined ? work.key : undefined;
        return found;
    };
}

/** The certificates in a stack's state. */
export function certificatesIn(
    resources: NonNullable<CheckedState["resources"]>,
): { readonly name: CertificateName; readonly ends: number }[] {
    const outputs = resources.flatMap((resource) =>
        resource.type.endsWith("dynamic/gateway:Credentials") && !resource.delete ? [resource.outputs ?? {}] : [],
    );
    const found = (name: CertificateName, pem: unknown) =>
        typeof pem === "string" ? [{ name, ends: Date.parse(new X509Certificate(pem).validTo) / 1000 }] : [];
    return outputs.flatMap(({ caCertificate, serverCertificate }) => [
        ...found("servers", serverCertificate),
        ...found("authority", caCertificate),
    ]);
}

function certificateProblem(
    certificates: ReturnType<typeof certificatesIn>,
    now: number,
    tell: CheckParts["ends"],
): string | undefined {
    const problems = certificates.flatMap(({ name, ends }) => {
        tell?.(name, ends);
        if (ends - now >= ALARM_BEFORE[name]) return [];
        const when = `${ends <= now ? "ended" : "ends"} on ${new Date(ends * 1000).toISOString().slice(0, 10)}`;
        return [`the ${name === "servers" ? "Consul servers'" : "authority's"} certificate ${when}: ${REMEDY[name]}`];
    });
    return problems.length > 0 ? problems.join("; ") : undefined;
}

/** The used part of Consul's answer about its keyring (`GET /v1/operator/keyring`), for each gossip pool. */
interface Keyring {
    readonly WAN: boolean;
    /** Number of members by key. */
    readonly Keys: Readonly<Record<string, number>>;
    readonly PrimaryKeys?: Readonly<Record<string, number>> | null;
    readonly NumNodes: number;
}

/** Whether machines that boot with the deployment's gossip key can talk to the others. It tells no key. */
function gossipKeyCheck(consul: ConsulHttp, file: string): Check {
    return {
        name: "gossipKey",
        async find() {
            const own = readFileSync(file, "utf8").trim();
            const rings = await consul.get<Keyring[]>("/v1/operator/keyring");
            for (const { Keys, PrimaryKeys, NumNodes } of rings.filter(({ WAN }) => !WAN)) {
                const known = Keys[own] ?? 0;
                const primary = PrimaryKeys ? (PrimaryKeys[own] ?? 0) : NumNodes;
                if (known >= NumNodes && primary >= NumNodes) continue;
                const what = known < NumNodes ? `${known} of ${NumNodes} know` : `${primary} of ${NumNodes} use`;
                return (
                    `Consul's gossip key was changed outside of the deployment: ${what} the deployment's key, so machines ` +
                    "that are replaced cannot join; make it the primary key again: consul keyring -install, then -use"
                );
            }
            return undefined;
        },
    };
}

/**
 * Whether this loop still leads, or follows one that leads. It does neither while Consul has no leader or does not answer, and
 * then no loop anywhere replaces a server.
 *
 * @param lastSign when it last decided as the leader, or was told as a standby that its session lives; seconds since 1970.
 * @param patience how long that may be ago, in seconds.
 */
export function electionCheck(lastSign: () => number, patience: number, now: () => number): Check {
    return {
        name: "election",
        async find() {
            const last = lastSign();
            if (now() - last <= patience) return undefined;
            const since = new Date(1000 * last).toISOString();
            return `this loop has neither led nor stood by since ${since}: Consul has no leader or does not answer, or the loop hangs`;
        },
    };
}

/** One alarm. */
export interface Alarm {
    readonly name: string;
    readonly text: string;
    /** Seconds since 1970. */
    readonly since: number;
}

/** The present alarms. */
export class Alarms {
    private readonly raised = new Map<string, Alarm>();

    /** @param tell receives an alarm when it begins, changes, or ends. Must not throw. */
    constructor(
        private readonly clock: Pick<Clock, "now">,
        private readonly tell: (alarm: Alarm, ended: boolean) => void,
    ) {}

    /** Raises, changes or, with no text, ends an alarm. */
    set(name: string, text: string | undefined): void {
        const before = this.raised.get(name);
        if (text === before?.text) return;
        if (text !== undefined) {
            const alarm = { name, text, since: before?.since ?? this.clock.now() };
            this.raised.set(name, alarm);
            this.tell(alarm, false);
        } else if (before) {
            this.raised.delete(name);
            this.tell(before, true);
        }
    }

    all(): readonly Alarm[] {
        return [...this.raised.values()];
    }
}

/** What {@link watch} works with. */
export interface WatchParts {
    readonly checks: readonly Check[];
    readonly alarms: Alarms;
    readonly clock: Clock;
    readonly signal: AbortSignal;
    /** Time between two rounds, in seconds. */
    readonly seconds: number;
    /** Receives the reason when a check cannot be made; once. Must not throw. */
    readonly failed: (name: string, message: string) => void;
}

/** Makes the checks until the signal is aborted, and raises an alarm for each finding. */
export async function watch({ checks, alarms, clock, signal, seconds, failed }: WatchParts): Promise<void> {
    const failing = new Map<string, string>();
    const round = async ({ name, find }: Check) => {
        try {
            const text = await find();
            failing.delete(name);
            alarms.set(name, text);
        } catch (error) {
            const { message } = error as Error;
            if (failing.get(name) !== message) failed(name, message);
            failing.set(name, message);
        }
    };
    while (!signal.aborted) {
        for (const check of checks) await round(check);
        await clock.sleep(seconds, signal);
    }
}

/** The metrics of alarms and certificates. */
export class AlarmMetrics {
    private readonly raised: Gauge<"alarm">;
    private readonly certificates: Gauge<"certificate">;

    constructor(registry: Registry, checks: readonly Pick<Check, "name">[] = []) {
        const registers = [registry];
        this.raised = new Gauge({
            name: "gateway_replacement_alarm",
            help: "1 while something needs a human, although the loop may still work",
            labelNames: ["alarm"],
            registers,
        });
        this.certificates = new Gauge({
            name: "gateway_replacement_certificate_end_timestamp_seconds",
            help: "when a certificate ends, seconds since 1970",
            labelNames: ["certificate"],
            registers,
        });
        for (const { name } of checks) this.raised.set({ alarm: name }, 0);
    }

    told({ name }: Alarm, ended: boolean): void {
        this.raised.set({ alarm: name }, Number(!ended));
    }

    ends(certificate: CertificateName, time: number): void {
        this.certificates.set({ certificate }, time);
    }
}
