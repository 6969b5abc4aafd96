/**
 * Deployed inputs: what the program received at the last deployment besides its code. The program writes them into the
 * stack's state. The replacement loop reads them on a machine without a checkout, so that the program creates exactly the
 * same resources there.
 */
import { z } from "zod";

/** Name of the stack's output that holds it. */
export const deployedInputsOutput = "deployed";

/** The shape of the stack's output. */
export const deployedInputsSchema = z.object({
    /** The stack's configuration as the engine has it: strings, structured values as JSON. */
    config: z.record(z.string(), z.string()),
    /** Keys of the secret values. */
    secretKeys: z.array(z.string()),
    /** The files that machines fetch; absent where their image holds them. */
    artifacts: z
        .object({
            artifacts: z.array(
                z.object({ name: z.string(), version: z.string(), sha256: z.string(), size: z.number() }),
            ),
        })
        .optional(),
    /** This project's programs on machines, by name. */
    bundles: z.record(z.string(), z.object({ file: z.string(), sha256: z.string() })),
});

/** What the program received. */
export type DeployedInputs = z.infer<typeof deployedInputsSchema>;

/** A Pulumi program. With `inputs` it uses them instead of this computer's configuration and files. */
export type DeployedProgram = (inputs?: DeployedInputs) => Promise<Record<string, unknown>>;

/** Loads the program. It imports Pulumi's whole SDK, so call this only when necessary. */
export type LoadProgram = () => DeployedProgram;
