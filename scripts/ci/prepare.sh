#!/usr/bin/env bash
# Prepares a stack for Pulumi: installs packages and, for machines on a cloud, builds the files that they fetch and their
# list. The pipeline and scripts/ci/preview.sh call it.
# usage: scripts/ci/prepare.sh STACK
set -euo pipefail
stack=${1:?usage: scripts/ci/prepare.sh STACK}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ -f "Pulumi.$stack.yaml" ] || {
    echo "There is no Pulumi.$stack.yaml." >&2
    exit 1
}

# Keep installed packages.
[ -d node_modules ] || npm ci

# A preview compares checksums of these files, so they must come from these sources.
if grep -Eq '^ *gateway:image:' "Pulumi.$stack.yaml"; then
    npm run --silent artifacts -- --out artifacts
fi
