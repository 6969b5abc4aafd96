/** Kept for deployments made by version 0.1: their state names this path, and the engine loads it to delete what they made. */
export * from "./readinessProvider";
