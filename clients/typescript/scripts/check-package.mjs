/**
 * Packs the package, checks its content, and follows the README in new projects: each example as an ES module and as
 * CommonJS, compiled with the settings of `tsc --init`, and run by each version of Node.js; and the types with the
 * oldest TypeScript. The argument is the target of a server on the embedded sandbox; by default that of the README.
 */

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const HERE = new URL("..", import.meta.url).pathname;
const SAMPLES = join(HERE, "../python/examples/samples");
const FILES = /^(README\.md|LICENSE|package\.json|dist\/[a-z_/0-9]+\.(js|d\.ts)|dist\/index\.(mjs|d\.mts))$/;
const EXPECTED = ["LICENSE", "README.md", "dist/index.js", "dist/index.mjs", "dist/index.d.ts", "dist/index.d.mts"];
const NODES = ["20", "22", "24"];
const NEWEST = "7.0.2";
const WITH_TODAYS_INIT = ["5.9.3", NEWEST];
const OLDEST = "5.2.2";

const target = process.argv[2] ?? "127.0.0.1:50051";
const folder = mkdtempSync(join(tmpdir(), "embedwire-package-"));

function run(cwd, program, ...rest) {
  return execFileSync(program, rest, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
}

/** Runs a tool of a project; what it says is shown only if it fails. */
function tool(cwd, ...rest) {
  try {
    return run(cwd, "npx", "--no-install", ...rest);
  } catch (error) {
    throw new Error(`${rest.join(" ")} in ${cwd}:\n${error.stdout}`, { cause: error });
  }
}

/** The code blocks of the README with their outputs. */
function blocks() {
  const readme = readFileSync(join(HERE, "README.md"), "utf8").replaceAll("127.0.0.1:50051", target);
  const found = [...readme.matchAll(/```(ts|js)\n(.*?)```\n\n```text\n(.*?)```/gs)];
  assert.equal(found.length, [...readme.matchAll(/```(ts|js)\n/g)].length, "each example has an output");
  return found.map(([, language, code, output]) => ({ language, code, output }));
}

/** An example as a CommonJS file of TypeScript. */
function commonjs(code) {
  let count = 0;
  const imports = [];
  const body = code.replace(/^import (\{.*?\}) from (".*?");.*\n/gm, (_, names, module) => {
    count += 1;
    imports.push(`import module${count} = require(${module});\nconst ${names} = module${count};\n`);
    return "";
  });
  return `${imports.join("")}async function main() {\n${body}}\nvoid main();\n`;
}

function pack() {
  const { scripts } = JSON.parse(readFileSync(join(HERE, "package.json"), "utf8"));
  for (const script of ["preinstall", "install", "postinstall", "prepare"]) assert.ok(!(script in scripts), script);
  const manifest = JSON.parse(run(HERE, "npm", "pack", "--json", "--silent", "--pack-destination", folder));
  const { filename, files } = Array.isArray(manifest) ? manifest[0] : Object.values(manifest)[0];
  const paths = files.map(({ path }) => path);
  for (const path of paths) assert.match(path, FILES);
  for (const path of EXPECTED) assert.ok(paths.includes(path), `${path} is missing`);
  return join(folder, filename);
}

/** An empty project with the package and a TypeScript, as `npm init` and `tsc --init` make it. */
function project(name, archive, typescript, type) {
  const cwd = join(folder, name);
  mkdirSync(cwd);
  writeFileSync(join(cwd, "package.json"), JSON.stringify({ private: true, type }));
  run(cwd, "npm", "install", "--no-audit", "--no-fund", archive, `typescript@${typescript}`);
  tool(cwd, "tsc", "--init");
  for (const sample of ["picture.png", "melody.flac"]) copyFileSync(join(SAMPLES, sample), join(cwd, sample));
  return cwd;
}

/** Write the examples into a project; return the programs that the compiler makes of them, with their outputs. */
function examples(cwd) {
  return blocks().flatMap(({ language, code, output }, index) => {
    const name = `example${index}`;
    if (language === "js") {
      writeFileSync(join(cwd, `${name}.cjs`), code);
      return [{ program: `${name}.cjs`, output }];
    }
    writeFileSync(join(cwd, `${name}.mts`), code);
    writeFileSync(join(cwd, `${name}c.cts`), commonjs(code));
    return [`${name}.mjs`, `${name}c.cjs`].map((program) => ({ program, output }));
  });
}

/** The program of a version of Node.js, from npm. */
function node(version) {
  return run(folder, "npx", "--yes", "--package", `node@${version}`, "--", "node", "-p", "process.execPath").trim();
}

/** The types, with the oldest compiler; only the declarations of this package can be held to be right in all settings. */
function checkTypes(archive) {
  const cwd = project("types", archive, OLDEST, "commonjs");
  const sources = blocks().filter(({ language }) => language === "ts");
  for (const [index, { code }] of sources.entries()) {
    const imports = code.match(/^import .*\n/gm).join("");
    const body = code.replace(/^import .*\n/gm, "");
    writeFileSync(join(cwd, `types${index}.ts`), `${imports}async function main() {\n${body}}\nvoid main();\n`);
  }
  for (const module of ["commonjs", "node16"]) {
    const options = ["--noEmit", "--module", module];
    tool(cwd, "tsc", ...options);
    const said = spawnSync("npx", ["--no-install", "tsc", ...options, "--skipLibCheck", "false"], {
      cwd,
      encoding: "utf8",
    });
    assert.doesNotMatch(said.stdout, /embedwire/);
  }
}

try {
  const archive = pack();
  let count = 0;
  const nodes = NODES.map(node);
  for (const typescript of WITH_TODAYS_INIT) {
    for (const type of ["module", "commonjs"]) {
      const cwd = project(`${type}-${typescript}`, archive, typescript, type);
      const programs = examples(cwd);
      tool(cwd, "tsc");
      if (typescript !== NEWEST || type !== "module") continue; // .mjs and .cjs are what they are in both
      for (const executable of nodes) {
        for (const { program, output } of programs) {
          assert.equal(run(cwd, executable, program), output, `${program}, ${executable}`);
          count += 1;
        }
      }
    }
  }
  checkTypes(archive);
  console.log(`${count} runs of the examples of the README, with Node.js ${NODES.join(", ")}`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
