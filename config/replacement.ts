/** The schema of `gateway:replacement`: the loop's policy, and whether the loop runs. */
import { z } from "zod";
import {
    defaultPolicy,
    localPolicy,
    type ReplacementPolicy,
    replacementPolicySchema,
} from "../replacement/core/policy";

/**
 * Adds the unit and the defaults, which differ by target, to a part of the policy. Messages and the reference show
 * both.
 */
function explained(name: string, schema: z.ZodType): z.ZodType {
    const usual = defaultPolicy[name as keyof ReplacementPolicy];
    const local = localPolicy[name as keyof ReplacementPolicy];
    const standard =
        usual === undefined
            ? "a third of the pool, at least 1"
            : usual === local
              ? String(usual)
              : `${usual}; on target local ${local}`;
    return schema.meta({
        ...schema.meta(),
        standard,
        example: usual ?? 1,
        ...(name.endsWith("Seconds") ? { unit: "seconds" } : {}),
    });
}

/** The settings of the replacement loop. The target's defaults apply to parts of the policy that are not set. */
export const replacementSchema = z.strictObject({
    enabled: z.boolean().default(true).describe("whether the loop runs"),
    ...(Object.fromEntries(
        Object.entries(replacementPolicySchema.shape).map(([name, schema]) => [name, explained(name, schema)]),
    ) as typeof replacementPolicySchema.shape),
});
