/**
 * The entry point for ES modules. It has the same classes as that for CommonJS, so that `instanceof` works with both.
 *
 * @packageDocumentation
 */

export * from "./index.js";
