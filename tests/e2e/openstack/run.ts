/** `npm run e2e:openstack`: runs the tests of target openstack. */
import { join } from "node:path";
import { withLock } from "../../../lib/locks";
import { runSuite } from "../support/run";
import { defaultSettings } from "./controlPlane/settings";
import { requirements } from "./support/requirements";

// There is only one set of the control plane's files.
void runSuite("openstack", requirements, (run, say) => {
    const onWait = ({ pid }: { pid: number }) => say(`waiting for process ${pid}, which runs these tests`);
    return withLock(join(defaultSettings().directory, "run", ".lock"), { onWait }, run);
});
