/**
 * The entry for ES modules: the same classes as for CommonJS, so that `instanceof` holds if a program uses both.
 *
 * @packageDocumentation
 */

export * from "./index.js";
