/** Names of the systemd units and the group that the boot program relies on. */

/** A unit, or another of systemd's files. */
export interface UnitFile {
    readonly name: string;
    readonly content: string;
}

/** The name of a service's unit. The prefix separates it from the distribution's own, such as `haproxy.service`. */
export function unitName(service: string): string {
    return `gw-${service}.service`;
}

/** The unit that sets up the machine before its services start, and the one that waits for them. */
export const bootUnit = unitName("boot");

export const readyUnit = unitName("ready");

/** The group of all services of a machine. Its members may create files in the folders for state and sockets. */
export const servicesGroup = "gateway-services";
