/** Every module that resources of this project point to, from the sources; see `load.cjs`. */
import { moduleFinder } from "./providerModules";

/** Gives a module by its key. */
export const findModule = moduleFinder({
    "local-instance": () => require("../local/machineProvider"),
    credentials: () => require("../credentials/credentialsProvider"),
    "aws-readiness": () => require("../aws/readinessProvider"),
    "openstack-readiness": () => require("../openstack/readinessProvider"),
});
