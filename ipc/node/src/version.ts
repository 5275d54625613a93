/** The version of this package; a test holds it equal to package.json. */
export const VERSION = "0.1.0";

/** The protocol numbers that this package speaks. */
export const PROTOCOL = { min: 1, max: 1 } as const;
