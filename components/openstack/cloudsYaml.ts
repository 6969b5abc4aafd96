/**
 * How to log in to a cloud of `clouds.yaml`, for what is asked of OpenStack besides its Pulumi provider. The provider looks
 * in the same places: https://docs.openstack.org/openstacksdk/latest/user/config/configuration.html
 */
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import type { KeystoneOptions } from "../../replacement/observers/keystone";

const cloudSchema = z.object({
    auth: z
        .object({
            auth_url: z.string().optional(),
            application_credential_id: z.string().optional(),
            application_credential_secret: z.string().optional(),
        })
        .default({}),
    region_name: z.string().optional(),
    interface: z.enum(["public", "internal", "admin"]).optional(),
    cacert: z.string().optional(),
});

const fileSchema = z.object({ clouds: z.record(z.string(), cloudSchema.partial()).default({}) });

/** Deadline of one answer, seconds. */
const TIMEOUT = 30;

/** Where `clouds.yaml` may be, in the order of preference. */
function places(environment: NodeJS.ProcessEnv): string[] {
    const named = environment.OS_CLIENT_CONFIG_FILE;
    if (named) return [resolve(named)];
    const folders = [process.cwd(), join(homedir(), ".config/openstack"), "/etc/openstack"];
    return folders.map((folder) => join(folder, "clouds.yaml"));
}

/**
 * How to log in to a cloud. Only by an application credential: it is for one project, can be revoked by itself, and is not
 * somebody's password.
 *
 * @param region instead of the file's.
 * @throws Error with what to do, when there is no such cloud or it has no application credential.
 */
export function cloudLogin(
    cloud: string,
    region: string | undefined,
    environment: NodeJS.ProcessEnv = process.env,
): KeystoneOptions {
    const candidates = places(environment);
    const path = candidates.find((each) => existsSync(each));
    if (path === undefined) throw new Error(`there is no clouds.yaml: looked for ${candidates.join(", ")}`);
    // The customary place of the passwords, where they are not in the file itself.
    const secure = join(dirname(path), "secure.yaml");
    const [open, hidden] = [path, ...(existsSync(secure) ? [secure] : [])].map(
        (file) => fileSchema.parse(parse(readFileSync(file, "utf8")) ?? {}).clouds[cloud],
    );
    if (!open) throw new Error(`${path} has no cloud "${cloud}" (gateway:openstack.cloud)`);
    const auth = { ...open.auth, ...hidden?.auth };
    const { auth_url: authUrl, application_credential_id: id, application_credential_secret: secret } = auth;
    if (!authUrl || !id || !secret) {
        throw new Error(
            `${path}: cloud "${cloud}" has to have auth_type v3applicationcredential, with auth_url, application_credential_id ` +
                "and application_credential_secret; to make one: openstack application credential create gateway",
        );
    }
    const wanted = region ?? open.region_name;
    return {
        authUrl,
        credentialId: id,
        secret,
        timeoutSeconds: TIMEOUT,
        ...(wanted ? { region: wanted } : {}),
        ...(open.interface ? { interface: open.interface } : {}),
        ...(open.cacert ? { caFile: open.cacert } : {}),
    };
}
