/** The schema of `gateway:image`: where cloud machines get their programs. */
import { z } from "zod";

/** The settings of the machines' image. */
export const imageSchema = z.strictObject({
    prebaked: z
        .boolean()
        .default(false)
        .describe(
            "whether the image already contains every program (docs/images.md); otherwise machines fetch them at boot",
        ),
    artifacts: z
        .string()
        .regex(/^https?:\/\/[^\s/]+(\/\S*)?$/)
        .exactOptional()
        .describe("where machines fetch their programs: the unchanged output of `npm run artifacts`, on a web server")
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
            "the list of programs with their checksums, as `npm run artifacts` wrote it; relative to the project's folder",
        ),
});
