/** Replaces packages that a bundle does not need: see `bundles.ts`. */
export {};
