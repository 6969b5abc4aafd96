/** Deploys the local stack with the overrides given as JSON. It is a separate process, so that a test can kill it. */
import { deploy, open } from "../../../scripts/deploy";

const options = {
    say: () => undefined,
    signal: new AbortController().signal,
    overrides: JSON.parse(process.argv[2] ?? "{}") as Record<string, unknown>,
};

void open("local", options).then((stack) => deploy(stack, options));
