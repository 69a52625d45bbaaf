#!/usr/bin/env bash
# Build the files of a release into build/dist. `make dist` calls it, with its tools installed.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
dist=$root/build/dist
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
module=github.com/embedwire/embedwire/clients/go
# hatchling writes this time into its archives, so that two builds of a commit are equal byte by byte.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python_packages() {
    local project
    for project in . clients/python; do
        (cd "$project" && "$root/.venv/bin/python" -m hatchling build --directory "$dist" >/dev/null)
    done
}

npm_package() {
    (cd clients/typescript && npm pack --silent --pack-destination "$dist" >/dev/null)
}

# The profile signs the files as well, which needs the key of the publisher: not in a build.
java_package() {
    (cd clients/java && mvn --quiet --batch-mode --activate-profiles release -Dgpg.skip -DskipTests package)
    local name=embedwire-client-$version kind
    for kind in "" -sources -javadoc; do
        cp "clients/java/target/$name$kind.jar" "$dist"
    done
    cp clients/java/pom.xml "$dist/$name.pom"
}

# Go itself makes the archive of a module, from the tag of its folder: `go get` receives the same bytes.
go_module() {
    git clone --quiet --bare . "$work/repository.git"
    git -C "$work/repository.git" tag --force "clients/go/v$version" >/dev/null
    GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=url.$work/repository.git.insteadOf \
        GIT_CONFIG_VALUE_0=https://github.com/embedwire/embedwire \
        GOMODCACHE=$work/modules GOFLAGS=-modcacherw GOPROXY=direct GONOSUMDB=$module \
        go mod download "$module@v$version"
    cp "$work/modules/cache/download/$module/@v/v$version.zip" "$dist/embedwire-go-$version.zip"
}

# The names under which the image is pushed. Only a version without a suffix moves the shorter ones.
image_tags() {
    echo "embedwire:$version"
    if [[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]]; then
        echo "embedwire:${version%.*}"
        echo "embedwire:latest"
    fi
}

# Software bills of materials in the format CycloneDX: the pinned packages of the server and of the command, and the
# dependencies of the other clients.
sboms() {
    local python=(.venv-release/bin/cyclonedx-py requirements --output-reproducible --output-format JSON)
    "${python[@]}" requirements/runtime.txt --pyproject pyproject.toml \
        --output-file "$dist/embedwire-server-$version.cdx.json" 2>/dev/null
    "${python[@]}" requirements/cli.txt --pyproject clients/python/pyproject.toml \
        --output-file "$dist/embedwire-python-$version.cdx.json" 2>/dev/null
    (cd clients/typescript && npm sbom --sbom-format cyclonedx --sbom-type library --omit dev --package-lock-only) \
        >"$dist/embedwire-typescript-$version.cdx.json"
    (cd clients/java && mvn --quiet --batch-mode org.cyclonedx:cyclonedx-maven-plugin:2.9.1:makeBom \
        -DoutputFormat=json -DincludeTestScope=false -DoutputName=bom >/dev/null)
    cp clients/java/target/bom.json "$dist/embedwire-java-$version.cdx.json"
    "$root/build/go/cyclonedx-gomod" mod -json -output "$dist/embedwire-go-$version.cdx.json" clients/go 2>/dev/null
}

if [[ -n $(git status --porcelain) ]]; then
    echo "make dist: commit or remove the changes of the working tree; a release is made from a commit" >&2
    exit 1
fi
rm -rf "$dist"
mkdir -p "$dist"
python_packages
npm_package
java_package
go_module
image_tags >"$dist/image-tags.txt"
sboms
(cd "$dist" && sha256sum -- * >"$work/SHA256SUMS" && mv "$work/SHA256SUMS" .)
echo "clients/go/v$version is the tag of the Go module"
ls "$dist"
