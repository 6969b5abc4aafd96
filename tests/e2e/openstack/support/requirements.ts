/** What the end-to-end tests of target openstack need on this computer. */
import { Requirements } from "../../support/requirements";
import { controlPlaneInstalled, prepareControlPlane } from "../controlPlane";
import { defaultSettings } from "../controlPlane/settings";

/** Beside what all such tests need. */
export const requirements = new Requirements(
    "openstack",
    ["openstack", "consul"],
    [
        {
            name: "OpenStack's packages (Debian 12)",
            available: () => controlPlaneInstalled(defaultSettings()),
            get: (say) => prepareControlPlane(defaultSettings(), say),
        },
    ],
);
