/**
 * What a program uses that runs as it was deployed. The replacement loop on this computer is compiled once, when it is
 * deployed. From then on it needs neither the sources nor a compiler, and an edit of the sources does not reach it.
 */

/** The programs of a deployment. */
export interface DeployedPrograms {
    /** This project's programs on machines: their files below the folder of bundles, and their checksums. */
    readonly bundles: Readonly<Record<string, { readonly file: string; readonly sha256: string }>>;
    /** Paths of the installed tools' executables, by name. */
    readonly tools: Readonly<Record<string, string>>;
}

/** The environment variables: programs that the loop starts, such as the engine's dynamic provider, inherit them. */
const VARIABLES = { bundles: "GATEWAY_DEPLOYED_BUNDLES", tools: "GATEWAY_DEPLOYED_TOOLS" } as const;

/** The environment of a program that runs as it was deployed. */
export function deployedEnvironment(programs: Partial<DeployedPrograms>): Record<string, string> {
    return Object.fromEntries(
        Object.entries(programs).map(([part, value]) => [
            VARIABLES[part as keyof DeployedPrograms],
            JSON.stringify(value),
        ]),
    );
}

/** A part of the deployed programs; undefined in a process that uses this project's sources. */
export function deployed<P extends keyof DeployedPrograms>(part: P): DeployedPrograms[P] | undefined {
    const text = process.env[VARIABLES[part]];
    return text === undefined ? undefined : (JSON.parse(text) as DeployedPrograms[P]);
}
