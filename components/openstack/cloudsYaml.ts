/**
 * The login to a cloud from `clouds.yaml`, for calls outside of the Pulumi provider. The provider looks in the same
 * places: https://docs.openstack.org/openstacksdk/latest/user/config/configuration.html
 */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { z } from "zod";
import type { KeystoneOptions } from "../../clients/keystone";
import { readYaml } from "../../lib/yaml";

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
 * The login to a cloud, by an application credential only: it covers one project, can be revoked separately, and is
 * nobody's password.
 *
 * @param region instead of the file's.
 * @throws Error with a remedy if there is no such cloud or it has no application credential.
 */
export function cloudLogin(
    cloud: string,
    region: string | undefined,
    environment: NodeJS.ProcessEnv = process.env,
): KeystoneOptions {
    const candidates = places(environment);
    const path = candidates.find((each) => existsSync(each));
    if (path === undefined) throw new Error(`there is no clouds.yaml: looked for ${candidates.join(", ")}`);
    // The usual place of passwords that are not in the file itself.
    const secure = join(dirname(path), "secure.yaml");
    const [open, hidden] = [path, ...(existsSync(secure) ? [secure] : [])].map(
        (file) => fileSchema.parse(readYaml(file).toJSON() ?? {}).clouds[cloud],
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
