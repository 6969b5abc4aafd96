import * as pulumi from "@pulumi/pulumi";
import type { AwsConfig } from "../../config";

/** The names of a target's resources, where AWS or people need names that are known in advance. */
export interface AwsNames {
    /** Prefix of the names of a target's resources; the component's name follows. */
    readonly stack: string;
    /** The tag by which Consul's agents find the servers. Auto-join must never find those of another deployment. */
    readonly autoJoin: { readonly key: string; readonly value: string };
    /** Prefix of the names of parameters, without a slash at the end. */
    readonly secretPrefix: string;
    /** Tags of a resource in addition to those that the provider adds: the name that the console shows. */
    readonly tagsOf: (what: string) => Record<string, string>;
}

/**
 * The names of a target. For the stack `dev` of the project `gateway` they begin with `gateway-dev`. A target that is
 * not called `aws` adds its own name, so that a stack may hold several.
 */
export function awsNames(target: string): AwsNames {
    const [project, stack] = [pulumi.getProject(), pulumi.getStack()];
    const own = target === "aws" ? [] : [target];
    const prefix = [project, stack, ...own].join("-");
    return {
        stack: `${project}-${stack}`,
        autoJoin: { key: "gateway-consul", value: prefix },
        secretPrefix: `/${[project, stack, ...own].join("/")}`,
        tagsOf: (what) => ({ Name: `${prefix}-${what}` }),
    };
}

/**
 * Tags of every resource: the user's own, and whose it is. The provider adds them, except to what an AutoScaling group
 * launches, where AWS wants them separately.
 */
export function commonTags({ tags }: Pick<AwsConfig, "tags">): Record<string, string> {
    return { ...tags, project: pulumi.getProject(), stack: pulumi.getStack(), "managed-by": "pulumi" };
}

/** The most characters that IAM takes as the beginning of a name that it completes. */
const IAM_PREFIX = 38;

/** The beginning of a name in IAM. It begins with project and stack, so that a policy can be limited to them. */
export function iamPrefix({ stack }: Pick<AwsNames, "stack">, what: string): string {
    return `${`${stack}-${what}`.slice(0, IAM_PREFIX - 1)}-`;
}
