/** A user's mistake, or something that the user can fix. Only its message is shown. */
export class UserError extends Error {}
