/**
 * `npx tsx tests/e2e/openstack/controlPlane/cli.ts up|down`: starts and ends the control plane by hand, for
 * experiments.
 */
import { Command } from "commander";
import { runCommand, say } from "../../../../scripts/console";
import { prepareControlPlane, startControlPlane, stopControlPlane } from ".";
import { type ControlPlaneSettings, defaultSettings } from "./settings";

async function main(): Promise<void> {
    const standard = defaultSettings();
    const root = new Command("control-plane").description("A real OpenStack control plane on this computer.");
    const command = (name: string, description: string, work: (settings: ControlPlaneSettings) => Promise<void>) =>
        root
            .command(name)
            .description(description)
            .option("--directory <path>", "its files", standard.directory)
            .option("--address <address>", "of its APIs; has to exist in the namespace", standard.address)
            .option("--namespace <name>", "network namespace", standard.namespace)
            .option("--computes <n>", "hypervisors", Number, standard.computes)
            .action((settings: ControlPlaneSettings) => work(settings));
    command("up", "start it with empty databases", async (settings) => {
        await prepareControlPlane(settings, say);
        const { cloudsYaml } = await startControlPlane(settings, say);
        say(`export OS_CLIENT_CONFIG_FILE=${cloudsYaml} OS_CLOUD=operator`);
    });
    command("down", "end it", stopControlPlane);
    await root.parseAsync();
}

void runCommand(main, "Run it again; `down` ends what it has started.");
