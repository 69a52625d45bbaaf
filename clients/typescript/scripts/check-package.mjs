/**
 * Packs the package, looks at what is in it, installs it into a project of its own, and runs there what the README
 * shows, as TypeScript. The argument is the target of a server on the embedded sandbox; the README's is its default.
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const HERE = new URL("..", import.meta.url).pathname;
const SAMPLES = join(HERE, "../python/examples/samples");
const FILES = /^(README\.md|LICENSE|package\.json|dist\/[a-z_/0-9]+\.(js|d\.ts))$/;

const target = process.argv[2] ?? "127.0.0.1:50051";
const project = mkdtempSync(join(tmpdir(), "embedwire-package-"));
const run = (program, ...rest) =>
  execFileSync(program, rest, { cwd: project, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });

/** The code blocks of the README with their outputs, if one follows. */
function blocks() {
  const readme = readFileSync(join(HERE, "README.md"), "utf8");
  return [...readme.matchAll(/```ts\n(.*?)```\n(?:\n```text\n(.*?)```)?/gs)].map(([, code, output]) => ({
    code,
    output,
  }));
}

try {
  const packed = execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", project], {
    cwd: HERE,
    encoding: "utf8",
  });
  const manifest = JSON.parse(packed);
  const { filename, files } = Array.isArray(manifest) ? manifest[0] : Object.values(manifest)[0];
  const paths = files.map(({ path }) => path);
  for (const path of paths) assert.match(path, FILES);
  for (const path of ["dist/index.js", "dist/index.d.ts", "dist/generated/embedwire/v1/embedding_pb.js", "README.md"]) {
    assert.ok(paths.includes(path), `${path} is missing`);
  }

  writeFileSync(join(project, "package.json"), '{ "private": true, "type": "module" }');
  run("npm", "install", "--silent", "--no-audit", "--no-fund", join(project, filename));
  for (const sample of ["picture.png", "melody.flac"]) copyFileSync(join(SAMPLES, sample), join(project, sample));
  const found = blocks();
  found.forEach(({ code }, index) =>
    writeFileSync(join(project, `block${index}.ts`), code.replace("127.0.0.1:50051", target)),
  );
  const names = found.map((_, index) => `block${index}.ts`);
  const options = [
    "--strict",
    "--target",
    "es2022",
    "--module",
    "nodenext",
    "--lib",
    "es2023,esnext.disposable",
    "--types",
    "node",
  ];
  run(process.execPath, join(HERE, "node_modules/typescript/bin/tsc"), ...options, ...names);
  found.forEach(({ output }, index) => {
    const printed = run(process.execPath, `block${index}.js`);
    if (output !== undefined) assert.equal(printed, output, `block ${index} of the README`);
  });
  console.log(`${paths.length} files packed; ${found.length} examples of the README run with them`);
} finally {
  rmSync(project, { recursive: true, force: true });
}
