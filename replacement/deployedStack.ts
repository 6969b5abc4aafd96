/**
 * The stack on a machine that has no checkout: this project's program, which is part of the same file as the loop, with
 * the configuration and the list of artifacts as they were deployed last. They are in the stack's own state.
 */
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import * as automation from "@pulumi/pulumi/automation";
import { type Given, givenOutput, givenSchema, takeGiven } from "../components/given";
import { readJson, writeAtomically } from "../supervisor/files";
import { versionOf } from "./engine";

/** A stack with the program as deployed. */
export interface DeployedStack {
    readonly stack: automation.Stack;
    /** Reads again what was deployed; before each run of the program. @throws Error when nothing is. */
    readonly prepare: () => Promise<void>;
}

/** As far as it is read here; the engine's own format. */
interface ExportedState {
    readonly secrets_providers?: { readonly type?: string; readonly state?: { readonly salt?: string } };
}

/**
 * Opens the stack. The engine's backend and passphrase are those of this process's environment, and its CLI and plugins
 * are on PATH.
 *
 * @param directory where the CLI has its project; made when it is missing. Nothing in it is worth keeping.
 * @param environment what the CLI gets besides, and no other process.
 * @throws Error when there is no such stack.
 */
export async function openDeployedStack(
    stackName: string,
    directory: string,
    environment: Readonly<Record<string, string>>,
): Promise<DeployedStack> {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const project = join(directory, "Pulumi.yaml");
    writeAtomically(project, "name: gateway\nruntime: nodejs\n", 0o600);
    const settings = join(directory, `Pulumi.${stackName}.yaml`);
    let given: Given | undefined;
    let givenBy: string | undefined;
    const run = async () => {
        if (!given) throw new Error("the program was started before it was known what it is given");
        takeGiven(given);
        return (require("../index") as () => Promise<Record<string, unknown>>)();
    };
    const stack = await automation.LocalWorkspace.selectStack(
        { stackName, projectName: "gateway", program: run },
        { workDir: directory, pulumiCommand: await automation.PulumiCommand.get(), envVars: { ...environment } },
    );
    return {
        stack,
        async prepare() {
            const exported = await stack.exportStack();
            const { type, state } = (exported.deployment as ExportedState).secrets_providers ?? {};
            if (type !== "passphrase" || !state?.salt) {
                throw new Error("the stack's secrets are not protected by a passphrase, which the loop needs");
            }
            // Without it the CLI would make a new one, and encrypt all anew. JSON is YAML.
            const text = `${JSON.stringify({ encryptionsalt: state.salt })}\n`;
            if (!existsSync(settings) || JSON.stringify(readJson(settings)) !== text.trim()) {
                writeAtomically(settings, text, 0o600);
            }
            const version = versionOf(exported);
            if (version === givenBy) return;
            const outputs = await stack.outputs();
            const found = givenSchema.safeParse(outputs[givenOutput]?.value);
            if (!found.success) {
                throw new Error(
                    `the stack's state does not say what it was deployed with (output ${givenOutput}): deploy it again`,
                );
            }
            given = found.data;
            givenBy = version;
        },
    };
}
