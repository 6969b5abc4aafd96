/**
 * The stack on a machine without a checkout: the program is bundled with the loop, and the deployed inputs come from the
 * stack's own state.
 */
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import * as automation from "@pulumi/pulumi/automation";
import * as runtime from "@pulumi/pulumi/runtime";
import { startedBy } from "../../engine/startedBy";
import { readJson, writeAtomically } from "../../lib/files";
import { versionOf } from "../../replacement/act/engine";
import { type DeployedInputs, deployedInputsOutput, deployedInputsSchema, type LoadProgram } from "./deployedInputs";
import type { Settings } from "./settings";

/** A stack with the program as deployed. */
export interface DeployedStack {
    readonly stack: automation.Stack;
    /** Reads the deployed inputs again; call it before each run of the program. @throws Error when there are none. */
    readonly prepare: () => Promise<void>;
}

/** The used part of the engine's format. */
interface ExportedState {
    readonly secrets_providers?: { readonly type?: string; readonly state?: { readonly salt?: string } };
}

/** The Consul server on the same machine comes first. */
const LOW_PRIORITY = ["nice", "-n", "10"];

/**
 * Opens the stack. The engine's backend and passphrase come from this process's environment, its CLI and plugins from
 * PATH.
 *
 * @param load the program.
 * @param settings the stack, and the CLI's project folder, which is created when missing. Its content is disposable.
 * @param environment further environment of the CLI, and of no other process.
 * @throws Error when there is no such stack.
 */
export async function openDeployedStack(
    load: LoadProgram,
    {
        project,
        stack: stackName,
        projectDirectory: directory,
    }: Pick<Settings, "project" | "stack" | "projectDirectory">,
    environment: Readonly<Record<string, string>>,
): Promise<DeployedStack> {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    writeAtomically(join(directory, "Pulumi.yaml"), `name: ${project}\nruntime: nodejs\n`, 0o600);
    const settings = join(directory, `Pulumi.${stackName}.yaml`);
    let inputs: DeployedInputs | undefined;
    let inputsOf: string | undefined;
    const run = async () => {
        if (!inputs) throw new Error("the program started before the deployed inputs were read");
        // The CLI gives the program no configuration here.
        runtime.setAllConfig(inputs.config, inputs.secretKeys);
        return load()(inputs);
    };
    const pulumiCommand = startedBy(LOW_PRIORITY, await automation.PulumiCommand.get());
    const stack = await automation.LocalWorkspace.selectStack(
        { stackName, projectName: project, program: run },
        { workDir: directory, pulumiCommand, envVars: { ...environment } },
    );
    return {
        stack,
        async prepare() {
            const exported = await stack.exportStack();
            const { type, state } = (exported.deployment as ExportedState).secrets_providers ?? {};
            if (type !== "passphrase" || !state?.salt) {
                throw new Error("the stack's secrets are not protected by a passphrase, which the loop needs");
            }
            // Without the salt the CLI would create a new one and encrypt everything anew. JSON is valid YAML.
            const text = `${JSON.stringify({ encryptionsalt: state.salt })}\n`;
            if (!existsSync(settings) || JSON.stringify(readJson(settings)) !== text.trim()) {
                writeAtomically(settings, text, 0o600);
            }
            const version = versionOf(exported);
            if (version === inputsOf) return;
            const outputs = await stack.outputs();
            const found = deployedInputsSchema.safeParse(outputs[deployedInputsOutput]?.value);
            if (!found.success) {
                throw new Error(
                    `the stack's state has no deployed inputs (output ${deployedInputsOutput}): deploy it again`,
                );
            }
            inputs = found.data;
            inputsOf = version;
        },
    };
}
