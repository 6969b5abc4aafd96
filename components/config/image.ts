/** The schema of `gateway:image`: where machines of a cloud have their programs from. */
import { z } from "zod";

/** What the user may say about the machines' image. */
export const imageSchema = z.strictObject({
    prebaked: z
        .boolean()
        .default(false)
        .describe("whether the image holds every program already (docs/images.md); else they are fetched at boot"),
    artifacts: z
        .string()
        .regex(/^https?:\/\/[^\s/]+(\/\S*)?$/)
        .exactOptional()
        .describe("where machines fetch their programs from: what `npm run artifacts` wrote, served as it is")
        .meta({
            allowed: "a URL: http:// or https://",
            example: "https://artifacts.example.org/gateway",
            standard: "must be set on a cloud, unless prebaked",
        }),
    manifest: z
        .string()
        .min(1)
        .default("artifacts/artifacts.json")
        .describe(
            "the list of them with their checksums, which `npm run artifacts` wrote; a path from the project's folder",
        ),
});
