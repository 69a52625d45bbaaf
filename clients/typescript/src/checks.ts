/** Checks of arguments, for callers without TypeScript. */

/**
 * Return the only defined member of a value that has exactly one of these names.
 *
 * @throws TypeError - it has none or several of them.
 */
export function onlyMember(at: string, value: unknown, names: readonly string[]): { name: string; value: unknown } {
  const members = typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  const given = names.filter((name) => members[name] !== undefined);
  const [name] = given;
  if (name === undefined || given.length > 1) {
    throw new TypeError(`${at}: must have exactly one of ${names.join(", ")}; got ${given.join(" and ") || "none"}`);
  }
  return { name, value: members[name] };
}

/**
 * Check that a value is undefined or a number of milliseconds.
 *
 * @throws TypeError - it is neither.
 */
export function checkMilliseconds(name: string, value: unknown, least: number): void {
  if (value !== undefined && !(typeof value === "number" && value >= least)) {
    throw new TypeError(`${name}: must be a number of milliseconds, at least ${String(least)}`);
  }
}

/**
 * Check that a value is undefined or a whole number in a range.
 *
 * @throws TypeError - it is neither.
 */
export function checkWhole(name: string, value: unknown, least: number, most: number): void {
  if (value !== undefined && !(typeof value === "number" && Number.isInteger(value) && value >= least && value <= most))
    throw new TypeError(`${name}: must be a whole number from ${String(least)} to ${String(most)}`);
}

/**
 * Check that a value is undefined or has this type.
 *
 * @throws TypeError - it is neither.
 */
export function checkType(name: string, value: unknown, type: "boolean" | "function" | "number" | "string"): void {
  if (value !== undefined && typeof value !== type) throw new TypeError(`${name}: must be a ${type}`);
}
