/** Stands, in a bundle, for packages of targets that the bundle is not for: see `../bundles.ts`. */
export {};
