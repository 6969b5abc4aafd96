/** An object store for the stack's state, with the API of S3: moto. A cloud with Ceph or Swift has such a store. */
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { Moto } from "../../support/moto";

/** Its keys. It accepts any. */
export const stateKeys = { access: "state-access", secret: "state-secret" } as const;

/** A running object store with one bucket. */
export class ObjectStore {
    private constructor(
        /** The bucket's URL, as the engine expects it. */
        readonly backend: string,
        private readonly moto: Moto,
    ) {}

    /** Starts it. @param log the file for its output. */
    static async start(address: string, port: number, bucket: string, log: string): Promise<ObjectStore> {
        const endpoint = `http://${address}:${port}`;
        const moto = await Moto.start(endpoint, ["-m", "moto.server", "-H", address, "-p", String(port)], log);
        const client = new S3Client({
            region: "us-east-1",
            endpoint,
            forcePathStyle: true,
            credentials: { accessKeyId: stateKeys.access, secretAccessKey: stateKeys.secret },
        });
        await client.send(new CreateBucketCommand({ Bucket: bucket }));
        client.destroy();
        const query = `endpoint=${address}:${port}&disableSSL=true&s3ForcePathStyle=true&region=us-east-1`;
        return new ObjectStore(`s3://${bucket}?${query}`, moto);
    }

    /** Ends it, with its whole content. */
    stop(): Promise<void> {
        return this.moto.stop();
    }
}
