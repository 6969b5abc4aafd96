/**
 * Creates and corrects the roles' policies and tokens once Consul has a leader, then exits. Run on a Consul server as
 * `node consul-acl.cjs SETTINGS`; safe to run twice, and on all servers at once.
 */
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { AclSettings } from "./settings";

/** How long to wait for a leader and for the servers to agree, milliseconds. The supervisor restarts the task. */
const DEADLINE = 120_000;
const RETRY_EVERY = 250;

async function main(settings: AclSettings): Promise<void> {
    const call = async (method: string, path: string, body?: object) => {
        const response = await fetch(`${settings.api}/v1/acl/${path}`, {
            method,
            headers: { "X-Consul-Token": settings.managementToken },
            ...(body ? { body: JSON.stringify(body) } : {}),
            signal: AbortSignal.timeout(5_000),
        });
        const text = await response.text();
        return { ok: response.ok, status: response.status, text };
    };
    const must = async (method: string, path: string, body?: object) => {
        const answer = await call(method, path, body);
        if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${answer.text.trim()}`);
        return JSON.parse(answer.text) as Record<string, unknown>;
    };

    const ensurePolicy = async (name: string, description: string, rules: string) => {
        const policy = { Name: name, Description: description, Rules: rules };
        const found = await call("GET", `policy/name/${name}`);
        if (!found.ok) return must("PUT", "policy", policy);
        const current = JSON.parse(found.text) as { ID: string; Rules: string; Description: string };
        if (current.Rules === rules && current.Description === description) return current;
        return must("PUT", `policy/${current.ID}`, { ...policy, ID: current.ID });
    };

    const ensure = async () => {
        for (const token of settings.tokens) {
            if (token.rules !== undefined) await ensurePolicy(token.secret, token.description, token.rules);
            const body = {
                AccessorID: token.accessorId,
                SecretID: token.secretId,
                Description: token.description,
                Policies: token.rules === undefined ? [] : [{ Name: token.secret }],
            };
            const exists = await call("GET", `token/${token.accessorId}`);
            if (!exists.ok) await must("PUT", "token", body);
        }
        console.log(`${settings.tokens.length} tokens are in place`);
    };

    const deadline = Date.now() + DEADLINE;
    for (;;) {
        try {
            return await ensure();
        } catch (error) {
            // No leader yet, or another server is creating the same objects: both pass.
            if (Date.now() > deadline) throw error;
            await delay(RETRY_EVERY);
        }
    }
}

main(JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as AclSettings).catch((error: Error) => {
    console.error(`consul-acl: ${error.message}`);
    process.exitCode = 1;
});
