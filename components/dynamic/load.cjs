/**
 * `gateway/dynamic`: the way from the process of Pulumi's dynamic provider, which runs plain JavaScript in the folder of
 * whatever program is deployed, to the modules of this package, which are TypeScript.
 */
module.exports = (key) => require("tsx/cjs/api").require("./modulesFromSources.ts", __filename).findModule(key);
