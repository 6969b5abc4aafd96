/**
 * The programs that this project runs, their pinned versions, and their sources. Versions are written only here;
 * everything else imports {@link versions}.
 *
 * To add a tool: one entry in {@link versions}, one {@link ToolSpec} in {@link tools}, and, when it is
 * built from source, a wrapper module `toolchain/modules/<name>/` (go.mod, go.sum, tools.go, and `stubs/` for what its build leaves out).
 */

import * as path from "node:path";

/**
 * Exact versions of the tools. HAProxy is the exception: it comes from the distribution, and this is the lowest
 * version whose runtime API and health checks have what the load balancer's configuration uses.
 */
export const versions = {
    // The CLI and @pulumi/pulumi are of one version. 3.276 is newer; it has nothing that is used here, and building it from
    // source takes Go 1.26 and the libraries of more clouds. 3.259 is proven with object stores that are not Amazon's, to
    // which 3.256 could not write.
    pulumi: "3.259.0",
    consul: "1.22.0",
    "consul-template": "0.41.1",
    haproxy: "2.6",
    fabio: "1.6.3",
    serf: "0.10.2",
} as const;

/** The tools that can be asked for. */
export type ToolName = keyof typeof versions;

/** A program that is already on this computer, found on PATH or at one of the paths of `also`. */
export interface PathSource {
    readonly kind: "path";
    /** Further absolute paths of the executable, depending on the environment. */
    readonly also?: (environment: NodeJS.ProcessEnv) => readonly string[];
}

/** An archive that the tool's vendor publishes for Linux x86-64. */
export interface OfficialSource {
    readonly kind: "official";
    readonly url: string;
    /** `binary`: no archive, but the executable itself. */
    readonly format: "zip" | "tar.gz" | "binary";
    /**
     * SHA-256 of the archive, in hex. Where it is left out, the archive is checked against the vendor's sums file,
     * which shows a broken transfer but not a vendor's site that was tampered with.
     */
    readonly sha256?: string;
    /** Where the vendor's file of lines `<sha256>  <file name>` is. Needed only where `sha256` is left out. */
    readonly sumsUrls?: readonly string[];
    /** Tells which files of the archive to unpack (to `bin/`), by their base name. */
    readonly wanted: (baseName: string) => boolean;
    /** Free space, in bytes, that the archive and what is unpacked from it need. */
    readonly diskBytes: number;
}

/** A Go program, built by a wrapper module whose `go.sum` pins the content of every module that goes into it. */
export interface GoSource {
    readonly kind: "go";
    /** Directory of the wrapper module: go.mod, go.sum, tools.go, and what the build leaves out in `stubs/`. */
    readonly directory: string;
    /** Import path of the main package. */
    readonly package: string;
    /** Linker flags, besides `-s -w`. */
    readonly ldflags?: string;
    /** Environment of the go command, besides the caller's. */
    readonly environment?: Readonly<Record<string, string>>;
    /** Free space in bytes that Go's build cache must have. A cold build of the large tools uses about 2.5 GB of it. */
    readonly diskBytes: number;
}

/** How every Go program is built. Another way of building makes another program: the cache's key depends on it. */
export const GO_BUILD = {
    flags: ["-mod=readonly", "-trimpath", "-buildvcs=false"],
    /** Without C, as the vendors build theirs: one executable for every distribution, and no compiler of C is needed. */
    environment: { CGO_ENABLED: "0" },
    /** To be raised when stubs are put in place in another way. */
    stubs: 1,
} as const;

/** A package of Debian or Ubuntu, unpacked into the cache together with those of its libraries that are missing. */
export interface DebianSource {
    readonly kind: "debian";
    readonly package: string;
    /** The program's path inside the package. */
    readonly executable: string;
    /** Free space, in bytes. */
    readonly diskBytes: number;
}

/** Where a tool may come from. */
export type Source = PathSource | OfficialSource | GoSource | DebianSource;

/** A tool: its version, how to tell the version of an executable, and its sources in the order of preference. */
export interface ToolSpec {
    /** Name of the executable, and of the tool's folder in the cache. */
    readonly name: string;
    /** What people call it. */
    readonly title: string;
    readonly version: string;
    /** Whether an executable of this version will do. */
    readonly accepts: (version: string) => boolean;
    /** Arguments that make the executable print its version. */
    readonly versionArgs: readonly string[];
    /** Finds the version in what that printed; its first group is the version. */
    readonly versionPattern: RegExp;
    readonly sources: readonly Source[];
    /** Files written to `bin/` where the source did not bring them, by name. They are executable. */
    readonly companions?: Readonly<Record<string, string>>;
    /** What to do when every source failed, as the end of a message to the user. */
    readonly byHand: string;
}

/** Directory of the wrapper module of a tool that can be built from source. */
function wrapper(name: string): string {
    return path.join(__dirname, "modules", name);
}

/**
 * Whether a dotted version is at least another one, number by number; what follows a `-` or `+` is not looked at.
 *
 * @example atLeast("2.10.1", "2.6") === true
 */
export function atLeast(version: string, lowest: string): boolean {
    const numbers = (text: string) => (text.split(/[-+]/)[0] ?? "").split(".").map(Number);
    const [have, want] = [numbers(version), numbers(lowest)];
    for (let i = 0; i < Math.max(have.length, want.length); i++) {
        const difference = (have[i] ?? 0) - (want[i] ?? 0);
        if (difference !== 0) return difference > 0;
    }
    return true;
}

/**
 * Starts the dynamic provider of the project that the engine runs for (its working directory). The same as the script
 * of the official distribution, but no shell stays behind, and a project without @pulumi/pulumi gets an error.
 */
const DYNAMIC_PROVIDER_SCRIPT = `#!/bin/sh
provider=$(node -e "console.log(require.resolve('@pulumi/pulumi/cmd/dynamic-provider'))") || exit 1
exec node "$provider" "$@"
`;

/** The file in which Pulumi publishes the SHA-256 of a release's archives. */
const PULUMI_SUMS = `pulumi-${versions.pulumi}-checksums.txt`;

const MB = 1e6;
const HASHICORP = "https://releases.hashicorp.com";
const FABIO_RELEASE = `https://github.com/fabiolb/fabio/releases/download/v${versions.fabio}`;
/** Where Serf's linker flags put its version. */
const SERF_VERSION = "github.com/hashicorp/serf/version";
/** The lowest version of Serf that speaks as the balancers' and gateways' programs expect. */
const LOWEST_SERF = "0.9.4";

/** A tool that HashiCorp publishes as a zip with one executable, and whose source is a Go module. */
function hashicorpTool(
    name: "consul" | "consul-template",
    spec: { title: string; sha256: string; package: string; diskBytes: number; buildBytes: number },
): ToolSpec {
    const version = versions[name];
    const directory = `${HASHICORP}/${name}/${version}`;
    const archive = `${name}_${version}_linux_amd64.zip`;
    return {
        name,
        title: spec.title,
        version,
        accepts: (found) => found === version,
        versionArgs: ["-version"],
        versionPattern: /^\S+ v(\d+\.\d+\.\d+\S*)/m,
        sources: [
            { kind: "path" },
            {
                kind: "official",
                url: `${directory}/${archive}`,
                format: "zip",
                sha256: spec.sha256,
                wanted: (baseName) => baseName === name,
                diskBytes: spec.diskBytes,
            },
            {
                kind: "go",
                directory: wrapper(name),
                package: spec.package,
                // The checksum database has no entry for some of Consul's modules; go.sum pins them all the same.
                environment: { GONOSUMDB: "github.com/hashicorp/consul,github.com/hashicorp/consul/*" },
                diskBytes: spec.buildBytes,
            },
        ],
        byHand: `put ${name} ${version} (${directory}/) on your PATH`,
    };
}

/** Every tool, by name. */
export const tools: Readonly<Record<ToolName, ToolSpec>> = {
    pulumi: {
        name: "pulumi",
        title: "Pulumi",
        version: versions.pulumi,
        accepts: (found) => found === versions.pulumi,
        versionArgs: ["version"],
        versionPattern: /^v(\d+\.\d+\.\d+\S*)/m,
        sources: [
            {
                kind: "path",
                // Where the npm package `pulumi` and the Automation API install the CLI.
                also: (environment) => [
                    path.join(pulumiHome(environment), "versions", versions.pulumi, "bin", "pulumi"),
                ],
            },
            {
                kind: "official",
                url: `https://get.pulumi.com/releases/sdk/pulumi-v${versions.pulumi}-linux-x64.tar.gz`,
                format: "tar.gz",
                // No SHA-256 is pinned: none was found published outside the vendor's own release when this was
                // written. It is checked against the vendor's list, if possible from another host than the archive.
                sumsUrls: [
                    `https://github.com/pulumi/pulumi/releases/download/v${versions.pulumi}/${PULUMI_SUMS}`,
                    `https://get.pulumi.com/releases/sdk/${PULUMI_SUMS}`,
                ],
                // The other language hosts are four fifths of the distribution and of no use here.
                wanted: (baseName) => baseName === "pulumi" || baseName.includes("nodejs"),
                diskBytes: 600 * MB,
            },
            {
                kind: "go",
                directory: wrapper("pulumi"),
                package: "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
                ldflags: `-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v${versions.pulumi}`,
                diskBytes: 3000 * MB,
            },
        ],
        companions: { "pulumi-resource-pulumi-nodejs": DYNAMIC_PROVIDER_SCRIPT },
        byHand: `install Pulumi ${versions.pulumi} (https://www.pulumi.com/docs/install/) and put it on your PATH`,
    },
    // The SHA-256 of both are those of HashiCorp's own Homebrew tap for the same archives.
    consul: hashicorpTool("consul", {
        title: "Consul",
        sha256: "9891495a2defabc3d637b376c66550e9879102868fbe6456a9a683067ae20ae9",
        package: "github.com/hashicorp/consul",
        diskBytes: 300 * MB,
        buildBytes: 3000 * MB,
    }),
    "consul-template": hashicorpTool("consul-template", {
        title: "consul-template",
        sha256: "ab68e09642437dcc5b6e9a572a1924d3969e4fe131f50a1a3a4f782d7a21f530",
        package: "github.com/hashicorp/consul-template",
        diskBytes: 60 * MB,
        buildBytes: 1000 * MB,
    }),
    haproxy: {
        name: "haproxy",
        title: "HAProxy",
        version: versions.haproxy,
        accepts: (found) => atLeast(found, versions.haproxy),
        versionArgs: ["-v"],
        versionPattern: /^HA-?Proxy version (\d+\.\d+(?:\.\d+)?)/m,
        sources: [
            // Debian installs it where only root's PATH looks.
            { kind: "path", also: () => ["/usr/local/sbin/haproxy", "/usr/sbin/haproxy"] },
            { kind: "debian", package: "haproxy", executable: "usr/sbin/haproxy", diskBytes: 100 * MB },
        ],
        byHand:
            `install the package "haproxy", version ${versions.haproxy} or later, with your package manager ` +
            "(dnf, zypper, apk, pacman, …); its system service is not needed and may stay disabled",
    },
    fabio: {
        name: "fabio",
        title: "Fabio",
        version: versions.fabio,
        accepts: (found) => found === versions.fabio,
        versionArgs: ["-v"],
        versionPattern: /^v?(\d+\.\d+\.\d+\S*) go/m,
        sources: [
            { kind: "path" },
            {
                kind: "official",
                url: `${FABIO_RELEASE}/fabio-${versions.fabio}-linux_amd64`,
                format: "binary",
                // As with Pulumi: no SHA-256 was found published outside the vendor's own release.
                sumsUrls: [`${FABIO_RELEASE}/fabio-${versions.fabio}.sha256`],
                wanted: () => true,
                diskBytes: 60 * MB,
            },
            {
                kind: "go",
                directory: wrapper("fabio"),
                package: "github.com/fabiolb/fabio",
                // As with Consul: the checksum database lacks it, and go.sum pins it.
                environment: { GONOSUMDB: "github.com/fabiolb/fabio" },
                diskBytes: 800 * MB,
            },
        ],
        byHand: `put fabio ${versions.fabio} (https://github.com/fabiolb/fabio/releases) on your PATH`,
    },
    serf: {
        name: "serf",
        title: "Serf",
        version: versions.serf,
        // Its makers have published no executable since 0.8.2, and one built without their flags, such as Debian's
        // (of 0.9.4), calls itself 0.8.2-dev, whatever it is; so only one that knows its version will do.
        accepts: (found) => atLeast(found, LOWEST_SERF),
        versionArgs: ["version"],
        versionPattern: /^(?:Serf v)?(\d+\.\d+\.\d+\S*)/m,
        sources: [
            { kind: "path" },
            {
                kind: "go",
                directory: wrapper("serf"),
                package: "github.com/hashicorp/serf/cmd/serf",
                ldflags: `-X ${SERF_VERSION}.Version=${versions.serf} -X ${SERF_VERSION}.VersionPrerelease=`,
                diskBytes: 400 * MB,
            },
        ],
        byHand: `put serf ${LOWEST_SERF} or later, built with its version (https://github.com/hashicorp/serf), on your PATH`,
    },
};

/** What the machines of a deployment run, by its stack of load balancing. HAProxy also checks the gateways' health. */
const STACK_TOOLS: Readonly<Record<string, readonly ToolName[]>> = {
    "consul-template-haproxy": ["consul", "consul-template", "haproxy"],
    fabio: ["consul", "fabio", "haproxy"],
    "serf-haproxy": ["serf", "haproxy"],
};

/** The tools that a stack of load balancing takes, besides Pulumi; for one that does not exist, those of the default. */
export function toolsOf(stack = "consul-template-haproxy"): readonly ToolName[] {
    return STACK_TOOLS[stack] ?? toolsOf();
}

/** The directory in which Pulumi keeps its plugins and versions: $PULUMI_HOME, or `~/.pulumi`. */
export function pulumiHome(environment: NodeJS.ProcessEnv = process.env): string {
    return environment.PULUMI_HOME || path.join(environment.HOME || "/", ".pulumi");
}
