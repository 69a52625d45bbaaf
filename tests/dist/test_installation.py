"""Each package of a release is installed into an empty environment, and makes a call to a server on the sandbox."""

import asyncio
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.dist.conftest import Run
from tests.support.serving import Served

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
# Kept between runs, and apart from the caches of the user, which may have other files of the same version.
MAVEN_CACHE = ROOT / "build/test-dist/maven"
GO_MODULE = "github.com/embedwire/embedwire/clients/go"
PYTHON = """
import sys
from embedwire import Client, Text
with Client(sys.argv[1]) as client:
    print(len(client.embed("marengo3.0", Text("a red fox")).vector))
"""
NODE = """
import { Client } from "@embedwire/client";
const client = new Client(process.argv[2]);
const { vector } = await client.embed("marengo3.0", { text: "a red fox" });
console.log(vector.length);
client.close();
"""
JAVA = """
import dev.embedwire.EmbedwireClient;
import dev.embedwire.Text;

class Embed {
    public static void main(String[] arguments) {
        try (var client = EmbedwireClient.builder(arguments[0]).build()) {
            System.out.println(client.embed("marengo3.0", Text.of("a red fox")).vector().length);
        }
    }
}
"""
POM = """
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>com.example</groupId>
  <artifactId>examples</artifactId>
  <version>1</version>
  <repositories>
    <repository><id>release</id><url>file://{repository}</url></repository>
  </repositories>
  <dependencies>
    <dependency>
      <groupId>dev.embedwire</groupId><artifactId>embedwire-client</artifactId><version>{version}</version>
    </dependency>
  </dependencies>
</project>
"""
GO = """
package main

import (
	"context"
	"fmt"
	"os"

	embedwire "github.com/embedwire/embedwire/clients/go"
)

func main() {
	client, err := embedwire.NewClient(os.Args[1])
	if err != nil {
		panic(err)
	}
	defer client.Close()
	embeddings, err := client.Embed(context.Background(), "marengo3.0", embedwire.Text{Value: "a red fox"})
	if err != nil {
		panic(err)
	}
	fmt.Println(len(embeddings[0].Segments[0].Vector))
}
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("end", ["-py3-none-any.whl", ".tar.gz"])
async def test_python(dist: Path, version: str, run: Run, tmp_path: Path, end: str) -> None:
    """The server and the client run from wheels and from source archives, with the pinned packages."""
    await run(sys.executable, "-m", "venv", "env")
    bin_folder = tmp_path / "env/bin"
    install = (bin_folder / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    await run(*install, "--require-hashes", "-r", REQUIREMENTS / "build.txt")
    await run(*install, "--require-hashes", "-r", REQUIREMENTS / "runtime.txt")
    files = [dist / f"{name}-{version}{end}" for name in ("embedwire", "embedwire_server")]
    await run(*install, "--no-deps", "--no-build-isolation", *files)
    await run(bin_folder / "python", "-m", "pip", "check")

    command = (bin_folder / "embedwire-server", "serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
    server = await asyncio.create_subprocess_exec(
        *command, "--upstream", "sandbox", "--log-format", "json", cwd=tmp_path, stderr=subprocess.PIPE
    )
    try:
        target = await _listening(server)
        assert await run(bin_folder / "python", "-c", PYTHON, target) == "512\n"
    finally:
        server.terminate()
        await server.communicate()


async def _listening(server: asyncio.subprocess.Process) -> str:
    """Return the address that the log of a server states."""
    assert server.stderr is not None
    while line := await server.stderr.readline():
        if found := re.search(rb'"embedwire\.target": ?"(127\.0\.0\.1:\d+)"', line):
            return found[1].decode()
    raise AssertionError("the server ended without serving")


@pytest.mark.timeout(300)
async def test_npm(dist: Path, version: str, run: Run, tmp_path: Path, served: Served) -> None:
    """The npm package works in an empty project."""
    (tmp_path / "package.json").write_text('{"private": true}')
    (tmp_path / "embed.mjs").write_text(NODE)
    await run("npm", "install", "--no-audit", "--no-fund", "--silent", dist / f"embedwire-client-{version}.tgz")

    assert await run("node", "embed.mjs", served.app.target) == "512\n"


@pytest.mark.timeout(600)
async def test_maven(dist: Path, version: str, run: Run, tmp_path: Path, served: Served) -> None:
    """The jar and its pom work in an empty project, from a repository in a folder."""
    repository = tmp_path / "repository"
    folder = repository / "dev/embedwire/embedwire-client" / version
    folder.mkdir(parents=True)
    for end in (".jar", ".pom"):
        shutil.copy(dist / f"embedwire-client-{version}{end}", folder)
    (tmp_path / "pom.xml").write_text(POM.format(repository=repository, version=version))
    (tmp_path / "Embed.java").write_text(JAVA)
    shutil.rmtree(MAVEN_CACHE / "dev/embedwire", ignore_errors=True)
    maven = ("mvn", "--quiet", "--batch-mode", f"-Dmaven.repo.local={MAVEN_CACHE}")
    await run(*maven, "dependency:copy-dependencies", "-DoutputDirectory=libraries", "-DincludeScope=runtime")

    assert await run("java", "-cp", "libraries/*", "Embed.java", served.app.target) == "512\n"


@pytest.mark.timeout(300)
async def test_go(dist: Path, version: str, run: Run, tmp_path: Path, served: Served) -> None:
    """The Go module works in an empty module, from a module proxy in a folder."""
    proxy = tmp_path / "proxy"
    folder = proxy / GO_MODULE / "@v"
    folder.mkdir(parents=True)
    archive = shutil.copy(dist / f"embedwire-go-{version}.zip", folder / f"v{version}.zip")
    with zipfile.ZipFile(archive) as files:
        (folder / f"v{version}.mod").write_bytes(files.read(f"{GO_MODULE}@v{version}/go.mod"))
    (folder / f"v{version}.info").write_text(f'{{"Version": "v{version}"}}')
    (folder / "list").write_text(f"v{version}\n")
    environment = await _go_environment(run, proxy, tmp_path)
    (tmp_path / "main.go").write_text(GO)
    await run("go", "mod", "init", "example.com/demo", **environment)
    await run("go", "get", f"{GO_MODULE}@v{version}", **environment)
    await run("go", "mod", "tidy", **environment)

    assert await run("go", "run", ".", served.app.target, **environment) == "512\n"


async def _go_environment(run: Run, proxy: Path, folder: Path) -> dict[str, str]:
    """Return variables for an empty cache of modules, which the proxy, the cache of the user and the index fill."""
    cache, index = (await run("go", "env", "GOMODCACHE", "GOPROXY")).split()
    return {
        "GOMODCACHE": str(folder / "modules"),
        "GOFLAGS": "-modcacherw",
        "GOPROXY": f"file://{proxy},file://{cache}/cache/download,{index}",
        "GONOSUMDB": GO_MODULE,
    }
