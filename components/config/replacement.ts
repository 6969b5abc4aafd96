/** The schema of `gateway:replacement`: the loop's policy, and whether the loop runs at all. */
import { z } from "zod";
import { defaultPolicy, localPolicy, type ReplacementPolicy, replacementPolicySchema } from "../../replacement/policy";

/** Adds to a part of the policy what messages and the reference say of it: its unit and its defaults, which differ by target. */
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

/** What the user may say about replacement. What of the policy is not said is the target's default. */
export const replacementSchema = z.strictObject({
    enabled: z.boolean().default(true).describe("whether the loop runs"),
    ...(Object.fromEntries(
        Object.entries(replacementPolicySchema.shape).map(([name, schema]) => [name, explained(name, schema)]),
    ) as typeof replacementPolicySchema.shape),
});
