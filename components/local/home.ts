import { resolve } from "node:path";

/**
 * Where the `local` target keeps what it runs: `.gateway` in the project, or what GATEWAY_HOME says.
 *
 * @param project the project's folder. Default: the working directory, which the engine sets to it for the program
 *        and for the dynamic provider alike.
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
        /** Protects the secrets in that state; readable by its owner only. */
        passphrase: resolve(root, "passphrase"),
        /** Stack configuration as deployed last: the committed one plus the engine's own salt. */
        stackConfig: (stack: string) => resolve(root, `Pulumi.${stack}.yaml`),
    } as const;
}

/** {@link gatewayHome}'s result. */
export type GatewayHome = ReturnType<typeof gatewayHome>;
