/** Where the passphrase of the state's secrets is from: one rule for all commands and for the replacement loop. */
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { writeAtomically } from "../lib/files";
import { UserError } from "./errors";

const VALUE = "PULUMI_CONFIG_PASSPHRASE";
const FILE = "PULUMI_CONFIG_PASSPHRASE_FILE";

/** The rule, for messages. */
const RULE =
    `Every command takes the passphrase from ${VALUE}, or else from the file that ${FILE} names, or else from its own file. ` +
    "An empty variable counts as not set.";

/** A passphrase. */
export interface Passphrase {
    /** Whose it is. `own` is in the home folder, where the first deployment makes it. */
    readonly kind: "value" | "file" | "own";
    /** Where it is from, for messages. */
    readonly from: string;
    /** Whether it was made just now, so that no salt of an earlier deployment belongs to it. */
    readonly isNew?: boolean;
    /** The variables that the engine has to get. */
    readonly environment: Readonly<Record<string, string>>;
}

/**
 * Finds the passphrase, and makes this process's environment follow the rule. The engine itself would take an empty variable for an
 * empty passphrase, and the loop, which gets the file alone, would look for another one.
 *
 * @param ownFile the home folder's file.
 * @param isNeeded whether there is a state that it has to open, so that it must not be made anew.
 * @throws UserError when it is missing, empty, or cannot be read.
 */
export function findPassphrase(ownFile: string, isNeeded: () => boolean): Passphrase {
    for (const name of [VALUE, FILE]) if (process.env[name] === "") delete process.env[name];
    const { [VALUE]: value, [FILE]: file } = process.env;
    if (value !== undefined) {
        delete process.env[FILE];
        return { kind: "value", from: `the variable ${VALUE}`, environment: { [VALUE]: value } };
    }
    if (file !== undefined && resolve(file) !== ownFile) {
        // Absolute, because the loop runs in another folder.
        const path = resolve(file);
        check(path, `${path}, which ${FILE} names,`);
        return { kind: "file", from: `${path}, which ${FILE} names`, environment: { [FILE]: path } };
    }
    const own = { kind: "own", from: ownFile, environment: { [FILE]: ownFile } } as const;
    if (existsSync(ownFile)) {
        check(ownFile, ownFile);
        return own;
    }
    if (isNeeded()) {
        throw new UserError(
            `The passphrase of the stack's secrets is missing: ${ownFile} does not exist, and neither ${VALUE} nor ${FILE} is set. ` +
                lost,
        );
    }
    writeAtomically(ownFile, randomBytes(32).toString("base64url"), 0o600);
    return { ...own, isNew: true };
}

const lost =
    `${RULE} Bring it back from a copy. If there is none, the secrets in the state are lost: on this computer, "npm run down" removes ` +
    'the deployment and "npm start" makes a new one.';

function check(path: string, name: string): void {
    let text: string;
    try {
        text = readFileSync(path, "utf8");
    } catch (error) {
        throw new UserError(`The passphrase in ${name} cannot be read: ${(error as Error).message}. ${RULE}`);
    }
    if (text.trim() === "") throw new UserError(`The passphrase in ${name} is missing: the file is empty. ${lost}`);
}

/** The engine's errors when a passphrase does not open the state or a value of the configuration. */
const WRONG = /incorrect passphrase|passphrase must be set|could not decrypt configuration value/;

/** What an error of the engine means if it is about the passphrase; otherwise undefined. */
export function passphraseProblem(stack: string, said: string, { from }: Pick<Passphrase, "from">): string | undefined {
    if (!WRONG.test(said)) return undefined;
    return (
        `The state of stack ${stack}, or a secret in its configuration, cannot be read with the passphrase in ${from}: it was ` +
        `encrypted with another one. ${lost}`
    );
}

/** A salt as the engine writes it: 8 bytes, then a text of 6 bytes that is encrypted with AES-GCM. */
const SALT = /^v1:[\w+/]{11}=:v1:[\w+/]{16}:[\w+/]{30}==$/;

/** Whether a value is a whole salt. The engine would call a passphrase wrong for one that was cut off. */
export function isSalt(value: unknown): value is string {
    return typeof value === "string" && SALT.test(value);
}
