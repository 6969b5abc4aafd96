import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";

/**
 * The keys that machines share before Consul answers, from Pulumi's provider `random`: the key of the gossip, and that of
 * Serf's agents. They show in a preview by name, and can be imported into a new deployment.
 *
 * For targets whose engine has that provider: the replacement loop's engine on machines of OpenStack does without it, and
 * so does a laptop that reaches no vendor. There `Credentials` makes the keys itself.
 *
 * @returns the keys by the secret's name. Secret. A deployment that has keys keeps them: see `Credentials`.
 */
export function randomKeys(name: string, opts: pulumi.CustomResourceOptions): pulumi.Output<Record<string, string>> {
    // Consul and Serf take 32 bytes in base64.
    const gossip = new random.RandomBytes(`${name}-gossip`, { length: 32 }, opts);
    const serf = new random.RandomPassword(`${name}-serf-rpc`, { length: 32, special: false }, opts);
    return pulumi
        .all([gossip.base64, serf.result])
        .apply(([gossipKey, serfRpcKey]): Record<string, string> => ({ gossipKey, serfRpcKey }));
}
