import { resolve } from "node:path";

/**
 * The folders of target `local`: below `$GATEWAY_HOME`, by default `.gateway` in the project.
 *
 * @param project the project's folder. Default: the working directory, which the engine sets for the program and the
 *        dynamic provider.
 */
export function gatewayHome(project = process.cwd()) {
    const root = resolve(project, process.env.GATEWAY_HOME ?? ".gateway");
    return {
        project,
        root,
        machines: resolve(root, "machines"),
        bundles: resolve(root, "bundles"),
        /** The engine's state, when it is kept on this computer. */
        state: resolve(root, "state"),
        /** Passphrase of the secrets in that state; only its owner can read it. */
        passphrase: resolve(root, "passphrase"),
        /** The last deployed stack configuration: the committed one plus the engine's salt. */
        stackConfig: (stack: string) => resolve(root, `Pulumi.${stack}.yaml`),
    } as const;
}

/** {@link gatewayHome}'s result. */
export type GatewayHome = ReturnType<typeof gatewayHome>;
