import type { PulumiCommand } from "@pulumi/pulumi/automation";

/**
 * The CLI, started by another command. Its folder is then on PATH only where the environment has it there, so programs of
 * another folder can come first.
 */
export function startedBy([command, ...given]: readonly string[], cli: PulumiCommand): PulumiCommand {
    if (command === undefined) return cli;
    return Object.create(cli, {
        command: { value: command },
        run: {
            // The SDK's own method, which adds to the arguments and uses `command`.
            value(args: string[], ...rest: unknown[]) {
                const run = Reflect.get(cli, "run") as (...all: unknown[]) => unknown;
                return run.call(this, [...given, cli.command, ...args], ...rest);
            },
        },
    });
}
