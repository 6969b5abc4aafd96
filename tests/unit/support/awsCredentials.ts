/** Sets credentials in the environment, with which AWS's library signs requests to a server of the test. */
export function awsCredentials() {
    const values = { AWS_ACCESS_KEY_ID: "test", AWS_SECRET_ACCESS_KEY: "test" };
    const before = new Map(Object.keys(values).map((name) => [name, process.env[name]]));
    return {
        set: () => Object.assign(process.env, values),
        /** Restores the previous environment. */
        unset: () => {
            for (const [name, value] of before) {
                if (value === undefined) delete process.env[name];
                else process.env[name] = value;
            }
        },
    };
}
