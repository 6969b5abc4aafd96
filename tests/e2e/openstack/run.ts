/** `npm run e2e:openstack`: runs the tests of target openstack. */
import { withLock } from "../../../scripts/tools/lock";
import { runSuite } from "../support/run";
import { defaultSettings } from "./controlPlane/settings";
import { requirements } from "./support/requirements";

// The control plane's files are there once.
void runSuite("openstack", requirements, (run, say) => {
    const onWait = ({ pid }: { pid: number }) => say(`waiting for process ${pid}, which runs these tests`);
    return withLock(defaultSettings().directory, "run", { onWait }, run);
});
