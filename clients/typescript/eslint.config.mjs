import eslint from "@eslint/js";
import { defineConfig, globalIgnores } from "eslint/config";
import tsdoc from "eslint-plugin-tsdoc";
import tseslint from "typescript-eslint";

export default defineConfig(
  globalIgnores(["dist/", "build/", "src/generated/"]),
  eslint.configs.recommended,
  {
    files: ["**/*.ts", "**/*.mts"],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    plugins: { tsdoc },
    languageOptions: {
      parserOptions: { project: ["tsconfig.json", "tsconfig.build.json"], tsconfigRootDir: import.meta.dirname },
    },
    rules: { "tsdoc/syntax": "error" },
  },
  {
    // node:test's describe and it return promises that the runner itself awaits.
    files: ["test/**/*.mts"],
    rules: { "@typescript-eslint/no-floating-promises": "off" },
  },
  {
    files: ["scripts/*.mjs"],
    languageOptions: { globals: { console: "readonly", process: "readonly", URL: "readonly" } },
  },
);
